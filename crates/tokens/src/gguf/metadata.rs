//! A GGUF file's metadata, with errors that name the file and the key.

use std::collections::BTreeMap;

use warmroute_kv::TokenId;

use super::header::Value;
use crate::source::LoadError;
use crate::template::ChatTemplate;
use crate::text::TextCodec;

/// The metadata of a file, with errors that name it.
pub struct Metadata<'a> {
    /// The file.
    pub file: &'a str,
    /// By key.
    pub entries: &'a BTreeMap<String, Value>,
}

impl<'a> Metadata<'a> {
    /// A key that must be there and is not.
    pub fn missing(&self, key: &str, kind: &str) -> LoadError {
        LoadError::malformed(self.file, format!("its metadata has no {kind} {key}"))
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// If it is missing or of another type.
    pub fn text(&self, key: &str) -> Result<&'a str, LoadError> {
        match self.entries.get(key) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(self.missing(key, "text")),
        }
    }

    /// An array of texts that must be there.
    ///
    /// # Errors
    /// If it is missing or of another type.
    pub fn texts(&self, key: &str) -> Result<Vec<&'a str>, LoadError> {
        let Some(Value::Array(values)) = self.entries.get(key) else {
            return Err(self.missing(key, "array"));
        };
        let texts = values.iter().map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Option<_>>().ok_or_else(|| self.missing(key, "array of texts"))
    }

    /// An array of integers; empty if it is missing.
    pub fn integers(&self, key: &str) -> Vec<i64> {
        let Some(Value::Array(values)) = self.entries.get(key) else { return Vec::new() };
        let integer = |value: &Value| match value {
            Value::Signed(number) => *number,
            Value::Unsigned(number) => i64::try_from(*number).unwrap_or_default(),
            _ => 0,
        };
        values.iter().map(integer).collect()
    }

    /// Whether a flag is there and set.
    pub fn flag(&self, key: &str) -> bool {
        self.entries.get(key) == Some(&Value::Bool(true))
    }

    /// A whole number, if it is there.
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.entries.get(key) {
            Some(Value::Unsigned(number)) => Some(*number),
            Some(Value::Signed(number)) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A token's id, if it is there.
    pub fn id(&self, key: &str) -> Option<TokenId> {
        self.number(key).and_then(|id| id.try_into().ok())
    }

    /// A size that must be there.
    ///
    /// # Errors
    /// If it is missing or of another type.
    pub fn size(&self, key: &str) -> Result<usize, LoadError> {
        self.number(key).and_then(|size| size.try_into().ok()).ok_or_else(|| self.missing(key, "size"))
    }

    /// A number, if it is there.
    pub fn float(&self, key: &str) -> Option<f32> {
        match self.entries.get(key) {
            Some(Value::Float(number)) => Some(*number as f32),
            _ => None,
        }
    }

    /// The chat template; [`ChatTemplate::plain`] if the file has none.
    ///
    /// # Errors
    /// If it does not parse.
    pub fn template(&self, tokenizer: &TextCodec) -> Result<ChatTemplate, LoadError> {
        let Ok(source) = self.text("tokenizer.chat_template") else { return Ok(ChatTemplate::plain()) };
        let spelling = |key| self.id(key).and_then(|id| tokenizer.spelling(id)).unwrap_or_default();
        let (bos, eos) = (spelling("tokenizer.ggml.bos_token_id"), spelling("tokenizer.ggml.eos_token_id"));
        ChatTemplate::new(source.to_owned(), bos, eos)
            .map_err(|error| LoadError::malformed(self.file, format!("its chat template: {error}")))
    }
}
