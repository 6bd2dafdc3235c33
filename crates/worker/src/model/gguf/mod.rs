//! Models in one GGUF file: weights, configuration, tokenizer and chat template together.

mod checkpoint;
pub mod header;
mod quantised;
mod tokenizer;

use std::collections::BTreeMap;
use std::io::BufReader;

use header::{Header, Value};
pub use quantised::Encoding;
use warmroute_kv::TokenId;

use self::checkpoint::GgufCheckpoint;
use super::load::{Architecture, Blob, Gpt2Config, LlamaConfig, LoadError};
use super::{ChatTemplate, LoadedModel, TextCodec};

/// Whether a file begins as GGUF does.
pub(super) fn recognises(blob: &Blob) -> bool {
    blob.read(0, 4).is_ok_and(|magic| magic.as_ref() == b"GGUF")
}

/// Loads a model from its file.
pub(super) fn load(name: String, blob: &Blob) -> Result<LoadedModel, LoadError> {
    let file = blob.name();
    let header = header::parse(BufReader::new(blob.reader()?), blob.length())
        .map_err(|error| LoadError::malformed(file, error))?;
    let metadata = Metadata { file, entries: &header.metadata };
    let tokenizer = tokenizer::build(&metadata)?;
    let tokenizer = TextCodec::new(tokenizer).map_err(|error| LoadError::malformed(file, error))?;
    let architecture = architecture(&metadata, &header)?;
    let rotary_heads = match &architecture {
        Architecture::Llama(config) => Some((config.num_attention_heads, config.kv_heads())),
        Architecture::Gpt2(_) => None,
    };
    let checkpoint = GgufCheckpoint { blob, tensors: &header.tensors, rotary_heads };
    let model = architecture.build(file, &checkpoint)?;
    if tokenizer.vocabulary() > model.vocabulary() {
        return Err(LoadError::malformed(file, "it has more tokens than rows in its embedding"));
    }
    let ids = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"];
    let mut eos: Vec<TokenId> = ids.into_iter().filter_map(|key| metadata.id(key)).collect();
    eos.sort_unstable();
    eos.dedup();
    let template = metadata.template(&tokenizer)?;
    Ok(LoadedModel { name, context: architecture.context(), model, tokenizer, template, eos })
}

/// The metadata of a file, with errors that name it.
struct Metadata<'a> {
    file: &'a str,
    entries: &'a BTreeMap<String, Value>,
}

impl<'a> Metadata<'a> {
    fn missing(&self, key: &str, kind: &str) -> LoadError {
        LoadError::malformed(self.file, format!("its metadata has no {kind} {key}"))
    }

    fn text(&self, key: &str) -> Result<&'a str, LoadError> {
        match self.entries.get(key) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(self.missing(key, "text")),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<&'a str>, LoadError> {
        let Some(Value::Array(values)) = self.entries.get(key) else {
            return Err(self.missing(key, "array"));
        };
        let texts = values.iter().map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Option<_>>().ok_or_else(|| self.missing(key, "array of texts"))
    }

    fn integers(&self, key: &str) -> Vec<i64> {
        let Some(Value::Array(values)) = self.entries.get(key) else { return Vec::new() };
        let integer = |value: &Value| match value {
            Value::Signed(number) => *number,
            Value::Unsigned(number) => i64::try_from(*number).unwrap_or_default(),
            _ => 0,
        };
        values.iter().map(integer).collect()
    }

    fn flag(&self, key: &str) -> bool {
        self.entries.get(key) == Some(&Value::Bool(true))
    }

    fn number(&self, key: &str) -> Option<u64> {
        match self.entries.get(key) {
            Some(Value::Unsigned(number)) => Some(*number),
            Some(Value::Signed(number)) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    fn id(&self, key: &str) -> Option<TokenId> {
        self.number(key).and_then(|id| id.try_into().ok())
    }

    fn size(&self, key: &str) -> Result<usize, LoadError> {
        self.number(key).and_then(|size| size.try_into().ok()).ok_or_else(|| self.missing(key, "size"))
    }

    fn float(&self, key: &str) -> Option<f32> {
        match self.entries.get(key) {
            Some(Value::Float(number)) => Some(*number as f32),
            _ => None,
        }
    }

    fn template(&self, tokenizer: &TextCodec) -> Result<ChatTemplate, LoadError> {
        let Ok(source) = self.text("tokenizer.chat_template") else { return Ok(ChatTemplate::plain()) };
        let spelling = |key| self.id(key).and_then(|id| tokenizer.spelling(id)).unwrap_or_default();
        let (bos, eos) = (spelling("tokenizer.ggml.bos_token_id"), spelling("tokenizer.ggml.eos_token_id"));
        ChatTemplate::new(source.to_owned(), bos, eos)
            .map_err(|error| LoadError::malformed(self.file, format!("its chat template: {error}")))
    }
}

/// The configuration that the metadata amounts to.
fn architecture(metadata: &Metadata<'_>, header: &Header) -> Result<Architecture, LoadError> {
    let tied = !header.tensors.contains_key("output.weight");
    let embedding = header.tensors.get("token_embd.weight").and_then(|place| place.shape.first());
    let vocabulary =
        *embedding.ok_or_else(|| LoadError::malformed(metadata.file, "it has no token_embd.weight"))?;
    match metadata.text("general.architecture")? {
        "llama" => llama(metadata, header, vocabulary, tied).map(Architecture::Llama),
        "gpt2" => gpt2(metadata, vocabulary, tied).map(Architecture::Gpt2),
        other => Err(LoadError::unsupported(metadata.file, format!("architecture {other:?}"))),
    }
}

fn llama(
    metadata: &Metadata<'_>,
    header: &Header,
    vocab_size: usize,
    tied: bool,
) -> Result<LlamaConfig, LoadError> {
    let scaled = metadata.text("llama.rope.scaling.type").is_ok_and(|kind| kind != "none");
    if scaled || header.tensors.contains_key("rope_freqs.weight") {
        return Err(LoadError::unsupported(metadata.file, "rotary scaling"));
    }
    let heads = metadata.size("llama.attention.head_count")?;
    let width = metadata.size("llama.embedding_length")?;
    let head_width = metadata.size("llama.attention.key_length").unwrap_or(width / heads.max(1));
    let turned = metadata.size("llama.rope.dimension_count").unwrap_or(head_width);
    if turned != head_width {
        return Err(LoadError::unsupported(metadata.file, "rotary positions in part of a head"));
    }
    let epsilon = metadata.float("llama.attention.layer_norm_rms_epsilon");
    Ok(LlamaConfig {
        vocab_size,
        max_position_embeddings: metadata.size("llama.context_length")?,
        hidden_size: width,
        intermediate_size: metadata.size("llama.feed_forward_length")?,
        num_hidden_layers: metadata.size("llama.block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: metadata.size("llama.attention.head_count_kv").ok(),
        head_dim: Some(head_width),
        rms_norm_eps: epsilon
            .ok_or_else(|| metadata.missing("llama.attention.layer_norm_rms_epsilon", "number"))?,
        hidden_act: "silu".to_owned(),
        rope_theta: metadata.float("llama.rope.freq_base"),
        rope_scaling: None,
        rope_parameters: None,
        attention_bias: header.tensors.contains_key("blk.0.attn_q.bias"),
        mlp_bias: false,
        tie_word_embeddings: tied,
    })
}

fn gpt2(metadata: &Metadata<'_>, vocab_size: usize, tied: bool) -> Result<Gpt2Config, LoadError> {
    let epsilon = metadata.float("gpt2.attention.layer_norm_epsilon");
    Ok(Gpt2Config {
        vocab_size,
        n_positions: metadata.size("gpt2.context_length")?,
        n_embd: metadata.size("gpt2.embedding_length")?,
        n_layer: metadata.size("gpt2.block_count")?,
        n_head: metadata.size("gpt2.attention.head_count")?,
        n_inner: metadata.size("gpt2.feed_forward_length").ok(),
        activation_function: "gelu_new".to_owned(),
        layer_norm_epsilon: epsilon
            .ok_or_else(|| metadata.missing("gpt2.attention.layer_norm_epsilon", "number"))?,
        scale_attn_by_inverse_layer_idx: false,
        scale_attn_weights: true,
        tie_word_embeddings: tied,
    })
}

#[cfg(test)]
mod tests;
