//! What is asked of the indexer, in the words of those who ask: some fields have several names in the field.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use warmroute_kv::{TokenId, Tokens};

use crate::config::KvEndpoint;

/// An engine instance, as its router calls it: a number or a word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct InstanceId(String);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for InstanceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number or a text")]
        enum Written {
            Number(u64),
            Text(String),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        }))
    }
}

/// Which caches can be compared: those of one model and tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct GroupName {
    /// The model that is served.
    #[serde(rename = "model_name", alias = "modelname", alias = "model")]
    pub model: String,
    /// The tenant, `default` unless said.
    #[serde(rename = "tenant_id", alias = "routing_group", default = "default_tenant")]
    pub tenant: String,
}

fn default_tenant() -> String {
    "default".to_owned()
}

/// A publisher to follow: `POST /register`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Registration {
    /// Whose cache it tells of.
    pub instance_id: InstanceId,
    /// Where its events come from.
    #[serde(deserialize_with = "endpoint")]
    pub endpoint: KvEndpoint,
    /// Where to ask for those that were missed.
    #[serde(default, deserialize_with = "optional_endpoint")]
    pub replay_endpoint: Option<KvEndpoint>,
    /// Whose caches its can be compared with.
    #[serde(flatten)]
    pub group: GroupName,
    /// Tokens in a block of its cache.
    #[serde(deserialize_with = "block_tokens")]
    pub block_size: Tokens,
    /// Its data-parallel rank.
    #[serde(default)]
    pub dp_rank: u32,
    /// What else keeps its blocks apart; not supported.
    #[serde(default, alias = "additionalsalt")]
    pub additional_salt: Option<String>,
}

/// A publisher to follow no more: `POST /unregister`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Unregistration {
    /// Whose.
    pub instance_id: InstanceId,
    /// In which group.
    #[serde(flatten)]
    pub group: GroupName,
    /// Which rank; all of them unless said.
    pub dp_rank: Option<u32>,
}

/// A prompt: `POST /query`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Question {
    /// Whose caches are asked.
    #[serde(flatten)]
    pub group: GroupName,
    /// The prompt.
    pub token_ids: Vec<TokenId>,
    /// The adapter that it goes to.
    #[serde(default)]
    pub lora_name: Option<String>,
    /// What keeps its cache apart from other tenants'.
    #[serde(default)]
    pub cache_salt: Option<String>,
    /// The only instance that is asked; all unless said.
    #[serde(default)]
    pub instance_id: Option<InstanceId>,
    /// For a check: it must be the group's.
    #[serde(default)]
    pub block_size: Option<u32>,
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KvEndpoint, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn optional_endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<KvEndpoint>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse()).transpose().map_err(serde::de::Error::custom)
}

fn block_tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tokens, D::Error> {
    let tokens = std::num::NonZeroU32::deserialize(deserializer)?;
    Ok(Tokens(tokens.get()))
}

/// Why a text is no publisher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no publisher: {cause}; hint: write INSTANCE=tcp://HOST:PORT, INSTANCE.RANK=tcp://HOST:PORT for a data-parallel rank, and ,tcp://HOST:PORT behind it to replay from"
)]
pub struct BadPublisher {
    text: String,
    cause: String,
}

/// A publisher as the command line has it, `7=tcp://10.0.0.1:5557,tcp://10.0.0.1:5558`, without what all have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    instance: InstanceId,
    dp_rank: u32,
    endpoint: KvEndpoint,
    replay: Option<KvEndpoint>,
}

impl Publisher {
    /// The publisher with what it has in common with others.
    pub fn registration(self, model: String, block_size: Tokens) -> Registration {
        Registration {
            instance_id: self.instance,
            endpoint: self.endpoint,
            replay_endpoint: self.replay,
            group: GroupName { model, tenant: default_tenant() },
            block_size,
            dp_rank: self.dp_rank,
            additional_salt: None,
        }
    }
}

impl FromStr for Publisher {
    type Err = BadPublisher;

    fn from_str(text: &str) -> Result<Self, BadPublisher> {
        let bad = |cause: String| BadPublisher { text: text.to_owned(), cause };
        let (name, endpoints) = text.split_once('=').ok_or_else(|| bad("it has no =".into()))?;
        let ranked = name.rsplit_once('.').and_then(|(name, rank)| Some((name, rank.parse().ok()?)));
        let (name, dp_rank) = ranked.unwrap_or((name, 0));
        if name.is_empty() {
            return Err(bad("it names no instance".into()));
        }
        let parse = |text: &str| text.parse::<KvEndpoint>().map_err(|error| bad(error.to_string()));
        let (events, replay) = match endpoints.split_once(',') {
            Some((events, replay)) => (events, Some(parse(replay)?)),
            None => (endpoints, None),
        };
        Ok(Self { instance: InstanceId(name.to_owned()), dp_rank, endpoint: parse(events)?, replay })
    }
}
