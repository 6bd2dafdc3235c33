//! A model in the layout of a Hugging Face repository.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;
use warmroute_kv::{TokenId, Tokens};

use super::LoadError;
use super::checkpoint::Checkpoint;
use super::files::Files;
use super::gpt2::Gpt2Config;
use super::llama::LlamaConfig;
use super::shards::Shards;
use crate::model::{ChatTemplate, LoadedModel, Model, TextCodec};

/// What a configuration describes, told by its `model_type`.
#[derive(Debug)]
pub(in crate::model) enum Architecture {
    Gpt2(Gpt2Config),
    Llama(LlamaConfig),
}

impl Architecture {
    /// Reads `config.json`.
    fn parse(file: &str, config: &Value) -> Result<Self, LoadError> {
        let malformed = |error: serde_json::Error| LoadError::malformed(file, error);
        match config["model_type"].as_str() {
            Some("gpt2") => Gpt2Config::deserialize(config).map(Self::Gpt2).map_err(malformed),
            Some("llama") => LlamaConfig::deserialize(config).map(Self::Llama).map_err(malformed),
            Some(other) => Err(LoadError::unsupported(file, format!("model_type {other:?}"))),
            None => Err(LoadError::malformed(file, "it has no model_type")),
        }
    }

    /// Reads the weights.
    pub(in crate::model) fn build(
        &self,
        file: &str,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Model, LoadError> {
        match self {
            Self::Gpt2(config) => config.build(file, checkpoint),
            Self::Llama(config) => config.build(file, checkpoint),
        }
    }

    /// The longest sequence.
    pub(in crate::model) fn context(&self) -> Tokens {
        let positions = match self {
            Self::Gpt2(config) => config.n_positions,
            Self::Llama(config) => config.max_position_embeddings,
        };
        Tokens(u32::try_from(positions).unwrap_or(u32::MAX))
    }
}

/// What `tokenizer_config.json` says, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
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

/// Loads the network alone.
pub(in crate::model) fn load_network(files: &Files) -> Result<(Architecture, Value, Model), LoadError> {
    let (file, bytes) = files.need("config.json")?;
    let config: Value = parse(&file, &bytes)?;
    let architecture = Architecture::parse(&file, &config)?;
    let model = architecture.build(&file, &Shards::open(files)?)?;
    Ok((architecture, config, model))
}

/// Loads a model from its files.
pub(super) fn load(name: &str, files: &Files) -> Result<LoadedModel, LoadError> {
    // The tokenizer first: it is read in no time, and a missing one should not wait for the weights.
    let (file, bytes) = files.need("tokenizer.json")?;
    let tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| LoadError::malformed(&file, error))?;
    let tokenizer = TextCodec::new(tokenizer).map_err(|error| LoadError::malformed(&file, error))?;
    let settings: TokenizerConfig = match files.read("tokenizer_config.json")? {
        Some((file, bytes)) => parse(&file, &bytes)?,
        None => TokenizerConfig::default(),
    };
    let (architecture, config, model) = load_network(files)?;
    if tokenizer.vocabulary() > model.vocabulary() {
        let reason = format!("it has {} tokens, the model {}", tokenizer.vocabulary(), model.vocabulary());
        return Err(LoadError::malformed(&file, reason));
    }
    let eos_token = settings.eos_token.as_ref().and_then(|token| tokenizer.token(token.text()));
    let eos = ends(files, &config, eos_token)?;
    let template = template(files, settings)?;
    Ok(LoadedModel {
        name: name.to_owned(),
        context: architecture.context(),
        model,
        tokenizer,
        template,
        eos,
    })
}

/// Every token that ends an answer: each of three files may name some.
fn ends(files: &Files, config: &Value, named: Option<TokenId>) -> Result<Vec<TokenId>, LoadError> {
    let mut ends = ids(&config["eos_token_id"]);
    if let Some((file, bytes)) = files.read("generation_config.json")? {
        ends.extend(ids(&parse::<Value>(&file, &bytes)?["eos_token_id"]));
    }
    ends.extend(named);
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}

/// The chat template, from its own file or the tokenizer's settings.
fn template(files: &Files, settings: TokenizerConfig) -> Result<ChatTemplate, LoadError> {
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

fn parse<T: for<'a> Deserialize<'a>>(file: &str, bytes: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|error| LoadError::malformed(file, error))
}

/// The id or ids of a field that may hold either, or nothing.
fn ids(value: &Value) -> Vec<TokenId> {
    let ids = match value {
        Value::Array(ids) => Cow::Borrowed(ids),
        one => Cow::Owned(vec![one.clone()]),
    };
    ids.iter().filter_map(Value::as_u64).filter_map(|id| TokenId::try_from(id).ok()).collect()
}
