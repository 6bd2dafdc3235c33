//! One worker as it is configured or discovered: its address, and the key it wants to see.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;
use serde::{Deserialize, Deserializer};

use super::ConfigError;
use super::kv_source::{KvEndpoint, KvSource, endpoints};
use super::values::{Secret, from_text};

/// One worker behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// Where its OpenAI API is.
    pub url: WorkerUrl,
    /// The key it is sent as `authorization: Bearer`, instead of what the client sent; best written as `env:NAME`.
    #[serde(default, deserialize_with = "secret")]
    pub api_key: Option<Secret>,
    /// Most requests it is given at once, instead of what the setting of this name says for all.
    pub max_in_flight: Option<NonZeroU32>,
    /// Where it publishes KV events, by data-parallel rank.
    #[serde(default, deserialize_with = "endpoints")]
    pub kv_events: Vec<KvEndpoint>,
    /// Where it tells them again, by data-parallel rank; none if it does not.
    #[serde(default, deserialize_with = "endpoints")]
    pub kv_replay: Vec<KvEndpoint>,
    /// Only events whose topic begins so are heard; all of them if empty.
    #[serde(default)]
    pub kv_topic: String,
}

impl WorkerConfig {
    /// Its publishers of KV events; a rank without a place to replay from has none.
    pub fn kv_sources(&self) -> Vec<KvSource> {
        let source = |(rank, events): (usize, &KvEndpoint)| KvSource {
            events: events.clone(),
            replay: self.kv_replay.get(rank).cloned(),
            topic: self.kv_topic.clone(),
        };
        self.kv_events.iter().enumerate().map(source).collect()
    }
}

/// What a `[[workers]]` table may say.
pub(super) const WORKER_KEYS: [&str; 6] =
    ["url", "api_key", "max_in_flight", "kv_events", "kv_replay", "kv_topic"];

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    from_text(deserializer).map(Some)
}

impl FromStr for WorkerConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            url: text.parse()?,
            api_key: None,
            max_in_flight: None,
            kv_events: Vec::new(),
            kv_replay: Vec::new(),
            kv_topic: String::new(),
        })
    }
}

/// A worker's base address, `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerUrl {
    /// Of the rest, whose letters are hashed one by one: every request finds its connection by it.
    hash: u64,
    link: Link,
    authority: Authority,
}

/// How a worker is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Link {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
}

impl Link {
    const ALL: [Self; 3] = [Self::Http, Self::Https, Self::H2c];

    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
        }
    }
}

impl WorkerUrl {
    /// Host and port: the worker's name in headers, metrics and logs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// That of whoever is spoken to so.
    pub(super) fn new(link: Link, authority: Authority) -> Self {
        let mut hasher = DefaultHasher::new();
        (link, &authority).hash(&mut hasher);
        Self { hash: hasher.finish(), link, authority }
    }

    /// How it is spoken to.
    pub(crate) fn link(&self) -> Link {
        self.link
    }
}

impl FromStr for WorkerUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = |why| ConfigError::WorkerUrl { url: text.to_owned(), why };
        let uri: Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.as_ref().map_or("", http::uri::Scheme::as_str);
        let link = Link::ALL.into_iter().find(|link| link.scheme().eq_ignore_ascii_case(scheme));
        let link = link.ok_or_else(|| wrong("it does not start with http://, https:// or h2c://"))?;
        if parts.path_and_query.is_some_and(|path| path.as_str() != "/") {
            return Err(wrong("it has a path; the gateway adds /v1/... itself"));
        }
        let authority = parts.authority.ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it carries a user name, which would show in headers and logs"));
        }
        Ok(Self::new(link, authority))
    }
}

impl Hash for WorkerUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl fmt::Display for WorkerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.link.scheme(), self.authority)
    }
}

impl<'de> Deserialize<'de> for WorkerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}
