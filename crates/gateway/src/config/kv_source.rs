//! Where a worker publishes its KV events: one ZMQ endpoint for each data-parallel rank, and one to ask again for what was missed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// One publisher of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvSource {
    /// Where events come from.
    pub events: KvEndpoint,
    /// Where to ask for those that were missed.
    pub replay: Option<KvEndpoint>,
    /// Only messages whose topic begins so are heard.
    pub topic: String,
}

/// An address as ZMQ writes it, `tcp://host:port`. With `*` as its host the gateway listens there and the engine connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvEndpoint(String);

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address of KV events; hint: write tcp://HOST:PORT, or tcp://*:PORT if the engine connects to the gateway"
)]
pub struct BadEndpoint(String);

impl KvEndpoint {
    /// As ZMQ wants it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where to listen, if the engine connects and not the gateway.
    pub fn bound(&self) -> Option<String> {
        self.0.strip_prefix("tcp://*:").map(|port| format!("tcp://0.0.0.0:{port}"))
    }
}

impl FromStr for KvEndpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let address = text.strip_prefix("tcp://").and_then(|address| address.rsplit_once(':'));
        match address {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(BadEndpoint(text.to_owned())),
        }
    }
}

impl fmt::Display for KvEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// One endpoint, or a list of them by data-parallel rank.
pub(super) fn endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<KvEndpoint>, D::Error> {
    let texts = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_connected_to_or_bound() {
        let endpoint = |text: &str| text.parse::<KvEndpoint>().expect(text);
        assert_eq!(endpoint("tcp://10.0.0.1:5557").bound(), None);
        assert_eq!(endpoint("tcp://*:5557").bound().as_deref(), Some("tcp://0.0.0.0:5557"));
        assert_eq!(endpoint("tcp://[::1]:5557").bound(), None);
        for wrong in ["", "10.0.0.1:5557", "tcp://10.0.0.1", "tcp://:5557", "tcp://a:99999", "ipc:///tmp/x"] {
            assert!(wrong.parse::<KvEndpoint>().is_err(), "{wrong}");
        }
    }
}
