//! Models in one GGUF file: weights, configuration, tokenizer and chat template together.

mod checkpoint;
mod quantised;

use warmroute_kv::TokenId;
use warmroute_tokens::gguf::header::Header;
use warmroute_tokens::gguf::{self, Metadata};

use self::checkpoint::GgufCheckpoint;
use super::LoadedModel;
use super::load::{Architecture, Blob, Gpt2Config, LlamaConfig, LoadError};

/// Loads a model from its file.
pub(super) fn load(name: String, blob: &Blob) -> Result<LoadedModel, LoadError> {
    let file = blob.name();
    let header = gguf::head(blob)?;
    let metadata = Metadata { file, entries: &header.metadata };
    let tokenizer = gguf::codec(&metadata)?;
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
