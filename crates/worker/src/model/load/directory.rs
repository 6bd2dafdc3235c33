//! A model in the layout of a Hugging Face repository.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use warmroute_kv::{TokenId, Tokens};
use warmroute_tokens::source::{self, Files};

use super::LoadError;
use super::checkpoint::Checkpoint;
use super::gpt2::Gpt2Config;
use super::llama::LlamaConfig;
use super::shards::Shards;
use crate::model::{LoadedModel, Model};

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
    let tokenizer = source::codec(files)?;
    let settings = source::settings(files)?;
    let (architecture, config, model) = load_network(files)?;
    if tokenizer.vocabulary() > model.vocabulary() {
        let reason = format!("it has {} tokens, the model {}", tokenizer.vocabulary(), model.vocabulary());
        return Err(LoadError::malformed(&format!("{}: tokenizer.json", files.place()), reason));
    }
    let eos_token = settings.eos_token().and_then(|token| tokenizer.token(token));
    let eos = ends(files, &config, eos_token)?;
    let template = source::template(files, settings)?;
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
