//! A tokenizer and its chat template in the layout of a Hugging Face repository.

use serde::Deserialize;
use tokenizers::Tokenizer;

use super::{Files, LoadError};
use crate::template::ChatTemplate;
use crate::text::TextCodec;

/// What `tokenizer_config.json` says, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
pub struct Settings {
    #[serde(default)]
    bos_token: Option<SpecialToken>,
    #[serde(default)]
    eos_token: Option<SpecialToken>,
    #[serde(default)]
    chat_template: Option<Templates>,
}

/// A special token is written as its text or as an object around it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Object { content: String },
}

impl SpecialToken {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

/// A template is one text, or several by name of which `default` is the one for chats.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Several(Vec<NamedTemplate>),
}

#[derive(Debug, Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl Templates {
    fn into_text(self) -> Option<String> {
        match self {
            Self::One(text) => Some(text),
            Self::Several(named) => {
                named.into_iter().find(|one| one.name == "default").map(|one| one.template)
            }
        }
    }
}

impl Settings {
    /// The token that ends an answer, as it is spelled.
    pub fn eos_token(&self) -> Option<&str> {
        self.eos_token.as_ref().map(SpecialToken::text)
    }
}

/// The tokenizer of `tokenizer.json`.
///
/// # Errors
/// If it is missing or malformed.
pub fn codec(files: &Files) -> Result<TextCodec, LoadError> {
    let (file, bytes) = files.need("tokenizer.json")?;
    let tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| LoadError::malformed(&file, error))?;
    TextCodec::new(tokenizer).map_err(|error| LoadError::malformed(&file, error))
}

/// What `tokenizer_config.json` says; nothing if it is missing.
///
/// # Errors
/// If it is malformed.
pub fn settings(files: &Files) -> Result<Settings, LoadError> {
    match files.read("tokenizer_config.json")? {
        Some((file, bytes)) => {
            serde_json::from_slice(&bytes).map_err(|error| LoadError::malformed(&file, error))
        }
        None => Ok(Settings::default()),
    }
}

/// The chat template, from its own file or the tokenizer's settings; [`ChatTemplate::plain`] if there is none.
///
/// # Errors
/// If it cannot be read or does not parse.
pub fn template(files: &Files, settings: Settings) -> Result<ChatTemplate, LoadError> {
    let source = match files.read("chat_template.jinja")? {
        Some((file, bytes)) => {
            Some(String::from_utf8(bytes).map_err(|error| LoadError::malformed(&file, error))?)
        }
        None => settings.chat_template.and_then(Templates::into_text),
    };
    let Some(source) = source else { return Ok(ChatTemplate::plain()) };
    let text = |token: Option<SpecialToken>| token.map(|token| token.text().to_owned()).unwrap_or_default();
    ChatTemplate::new(source, text(settings.bos_token), text(settings.eos_token))
        .map_err(|error| LoadError::malformed(&format!("{}: chat template", files.place()), error))
}
