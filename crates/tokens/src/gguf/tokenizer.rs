//! The tokenizer inside a GGUF file, rebuilt as the `tokenizer.json` it once was.

use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::Metadata;
use crate::source::LoadError;

/// A token type in ggml: part of the format, such as `<|im_end|>`; not shown.
const CONTROL: i64 = 3;
/// Added to the vocabulary by hand; shown.
const USER_DEFINED: i64 = 4;

/// Builds the tokenizer a file's metadata describes.
pub(super) fn build(metadata: &Metadata<'_>) -> Result<Tokenizer, LoadError> {
    let file = metadata.file;
    let model = metadata.text("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(LoadError::unsupported(file, format!("a tokenizer of type {model:?}")));
    }
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    let merges = metadata.texts("tokenizer.ggml.merges")?;
    let types = metadata.integers("tokenizer.ggml.token_type");
    let added: Vec<Value> = (0..)
        .zip(&tokens)
        .zip(types)
        .filter(|(_, kind)| [CONTROL, USER_DEFINED].contains(kind))
        .map(|((id, token), kind)| added_token(id, token, kind == CONTROL))
        .collect();
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().zip(0..).map(|(token, id): (_, u32)| ((*token).to_owned(), id.into())).collect();
    let description = json!({
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": splitter(metadata)?,
        "post_processor": beginning(metadata, &tokens),
        "decoder": byte_level(),
        "model": { "type": "BPE", "vocab": vocabulary, "merges": merges },
    });
    let bytes = serde_json::to_vec(&description).map_err(|error| LoadError::malformed(file, error))?;
    Tokenizer::from_bytes(bytes)
        .map_err(|error| LoadError::malformed(file, format!("its tokenizer: {error}")))
}

fn added_token(id: u32, token: &str, special: bool) -> Value {
    json!({
        "id": id, "content": token, "special": special,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    })
}

fn byte_level() -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true })
}

/// How text is cut before merging, told by a name that llama.cpp gives each scheme.
fn splitter(metadata: &Metadata<'_>) -> Result<Value, LoadError> {
    match metadata.text("tokenizer.ggml.pre").unwrap_or("gpt-2") {
        "gpt-2" | "default" => Ok(byte_level()),
        "smollm" => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            Ok(json!({ "type": "Sequence", "pretokenizers": [digits, byte_level()] }))
        }
        other => Err(LoadError::unsupported(metadata.file, format!("pre-tokenizer {other:?}"))),
    }
}

/// The token that every prompt begins with, if the file asks for one.
fn beginning(metadata: &Metadata<'_>, tokens: &[&str]) -> Value {
    let asked = metadata.flag("tokenizer.ggml.add_bos_token");
    let token = metadata.id("tokenizer.ggml.bos_token_id").filter(|_| asked);
    let Some((id, token)) = token.and_then(|id| Some((id, *tokens.get(id as usize)?))) else {
        return Value::Null;
    };
    let sequence = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let special = json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    json!({
        "type": "TemplateProcessing",
        "single": [special, sequence],
        "pair": [special, sequence, { "Sequence": { "id": "B", "type_id": 1 } }],
        "special_tokens": { token: { "id": token, "ids": [id], "tokens": [token] } },
    })
}
