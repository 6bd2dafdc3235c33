//! A model whose prompts the gateway turns into tokens itself, so that their blocks have the names that engines' KV events give them.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use warmroute_kv::{BlockLength, Tokens};

use super::GatewayConfig;
use super::values::{FilePath, from_text};

/// One model in token mode; all others are in text mode.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The name that workers serve it under.
    pub name: String,
    /// Where its tokenizer and chat template are.
    #[serde(deserialize_with = "from_text")]
    pub tokenizer: TokenizerSource,
    /// Tokens in a block of its workers' caches.
    #[serde(default = "usual_block")]
    pub block_tokens: NonZeroU32,
    /// A file with the chat template, instead of the one that comes with the tokenizer.
    #[serde(default, deserialize_with = "file")]
    pub chat_template: Option<FilePath>,
}

/// What a `[[models]]` table may say.
pub(super) const MODEL_KEYS: [&str; 4] = ["name", "tokenizer", "block_tokens", "chat_template"];

/// vLLM's block on GPUs; its CPU build has 32 and more, and SGLang its page size.
fn usual_block() -> NonZeroU32 {
    NonZeroU32::new(16).expect("sixteen is not zero")
}

fn file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FilePath>, D::Error> {
    from_text(deserializer).map(Some)
}

/// Where a tokenizer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenizerSource {
    /// In a directory as Hugging Face has them, or in a GGUF file.
    Path(PathBuf),
    /// On the Hugging Face hub, by this name.
    Hub(String),
    /// Nowhere here: some worker is asked for the tokens of each prompt.
    Worker,
}

/// Why a text names no tokenizer.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` names no tokenizer; hint: write a directory with tokenizer.json, a .gguf file, hub:OWNER/MODEL, or worker"
)]
pub struct BadTokenizer(String);

impl FromStr for TokenizerSource {
    type Err = BadTokenizer;

    fn from_str(text: &str) -> Result<Self, BadTokenizer> {
        match (text, text.strip_prefix("hub:")) {
            ("" | "hub:", _) => Err(BadTokenizer(text.to_owned())),
            ("worker", _) => Ok(Self::Worker),
            (_, Some(name)) => Ok(Self::Hub(name.to_owned())),
            (path, None) => Ok(Self::Path(path.into())),
        }
    }
}

impl fmt::Display for TokenizerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Hub(name) => write!(f, "hub:{name}"),
            Self::Worker => f.write_str("worker"),
        }
    }
}

impl GatewayConfig {
    /// Tokens in a block of `model`'s prompts, if it is in token mode: only then can events of its workers be compared with prompts.
    pub fn token_block(&self, model: &str) -> Option<Tokens> {
        let block = self.models.iter().find(|one| one.name == model)?.block_tokens;
        Some(Tokens(block.get()))
    }

    /// How text is cut into blocks where there are no tokens.
    pub fn text_block(&self) -> BlockLength {
        BlockLength::widening(self.text_chunk_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_model_has_blocks_of_tokens_and_others_have_none() {
        let text = "[[models]]\nname = \"m\"\ntokenizer = \"hub:o/m\"\n\
                    [[models]]\nname = \"n\"\ntokenizer = \"/models/n\"\nblock_tokens = 32\nchat_template = \"/n.jinja\"";
        let config = GatewayConfig::from_toml(text).unwrap();
        let blocks = ["m", "n", "o"].map(|name| config.token_block(name));
        assert_eq!(blocks, [Some(Tokens(16)), Some(Tokens(32)), None]);
        assert_eq!(config.models[1].chat_template, Some(FilePath("/n.jinja".into())));
    }

    #[test]
    fn what_is_read_is_written() {
        for text in ["/models/m", "m.gguf", "hub:o/m", "worker"] {
            assert_eq!(text.parse::<TokenizerSource>().unwrap().to_string(), text);
        }
        assert!(
            "hub:".parse::<TokenizerSource>().unwrap_err().to_string().contains("hint: write a directory")
        );
    }
}
