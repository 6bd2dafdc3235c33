//! The other gateways of a fleet as they are written, and the key that opens them.

use std::fmt;
use std::str::FromStr;

use super::discover::host_and_port;
use super::values::Secret;
use super::worker::WorkerUrl;

/// Each is told everything by each of the others: with so many, a gateway writes and reads as many streams.
pub(crate) const MOST_PEERS: usize = 32;

/// Where the admin API of another gateway is, or of several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerConfig {
    /// At this address.
    At(WorkerUrl),
    /// At every address that a name has, at this port.
    Dns {
        /// The name.
        host: String,
        /// The port of all of them.
        port: u16,
    },
}

impl fmt::Display for PeerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(url) => url.fmt(f),
            Self::Dns { host, port } => write!(f, "dns://{host}:{port}"),
        }
    }
}

/// What names no gateways.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPeers {
    /// It is no address.
    #[error(
        "`{0}` is no gateway: write its admin API's address as http://HOST:PORT, https://HOST:PORT or dns://HOST:PORT"
    )]
    Unreadable(String),
    /// There are too many.
    #[error("{0} gateways are more than {MOST_PEERS}, and each would be told everything by each")]
    Many(usize),
}

impl FromStr for PeerConfig {
    type Err = BadPeers;

    fn from_str(text: &str) -> Result<Self, BadPeers> {
        let bad = || BadPeers::Unreadable(text.to_owned());
        let Some(service) = text.strip_prefix("dns://") else {
            return text.parse().map(Self::At).map_err(|_| bad());
        };
        host_and_port(service).map(|(host, port)| Self::Dns { host, port }).ok_or_else(bad)
    }
}

/// All of them: none, or some separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers(pub Vec<PeerConfig>);

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("off");
        }
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(","))
    }
}

impl FromStr for Peers {
    type Err = BadPeers;

    fn from_str(text: &str) -> Result<Self, BadPeers> {
        if text == "off" {
            return Ok(Self::default());
        }
        let all: Vec<PeerConfig> = text.split(',').map(|one| one.trim().parse()).collect::<Result<_, _>>()?;
        if all.len() > MOST_PEERS { Err(BadPeers::Many(all.len())) } else { Ok(Self(all)) }
    }
}

/// A key that stands in the environment. Flags and settings are shown to people, so the key itself cannot be written there.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyInEnvironment {
    name: String,
    key: Secret,
}

impl KeyInEnvironment {
    /// The key.
    pub(crate) fn key(&self) -> &Secret {
        &self.key
    }
}

impl fmt::Debug for KeyInEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for KeyInEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "env:{}", self.name)
    }
}

impl FromStr for KeyInEnvironment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(name) = text.strip_prefix("env:") else {
            return Err("write it as env:NAME, since settings are shown to people".to_owned());
        };
        let key = text.parse::<Secret>().map_err(|error| error.to_string())?;
        Ok(Self { name: name.to_owned(), key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written() {
        for text in ["off", "http://a:8090", "https://a:8090,dns://gateways.llm.svc.cluster.local:8090"] {
            assert_eq!(text.parse::<Peers>().unwrap().to_string(), text);
        }
        assert_eq!("http://a:1, http://b:1".parse::<Peers>().unwrap().to_string(), "http://a:1,http://b:1");
    }

    #[test]
    fn what_is_no_gateway_is_refused_with_what_would_be() {
        for text in ["", "a:8090", "http://a:8090/peers", "dns://a", "dns://:1", "dns://a:x", "http://a:1,"] {
            let error = text.parse::<Peers>().unwrap_err().to_string();
            assert!(error.contains("dns://HOST:PORT"), "{text}: {error}");
        }
        let many = vec!["http://a:1"; MOST_PEERS + 1].join(",");
        assert_eq!(many.parse::<Peers>(), Err(BadPeers::Many(MOST_PEERS + 1)));
    }

    #[test]
    fn a_key_is_not_written_where_it_would_be_shown() {
        let literal = "sk-1".parse::<KeyInEnvironment>().unwrap_err();
        assert!(literal.contains("env:NAME") && !literal.contains("sk-1"), "{literal}");
        // Some variable that is always there.
        let key: KeyInEnvironment = "env:CARGO_MANIFEST_DIR".parse().unwrap();
        assert_eq!(
            (key.to_string().as_str(), format!("{key:?}").as_str()),
            ("env:CARGO_MANIFEST_DIR", "env:CARGO_MANIFEST_DIR")
        );
    }
}
