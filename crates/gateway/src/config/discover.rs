//! Where workers are looked for, as it is written: `file:PATH`, `dns://HOST:PORT`, `srv://NAME`.

use std::fmt;
use std::str::FromStr;

use super::values::FilePath;

/// One source of workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceConfig {
    /// A file that is read again whenever it changes.
    File(FilePath),
    /// Every address that a name has, at this port.
    Dns {
        /// The name.
        host: String,
        /// The workers' port.
        port: u16,
    },
    /// Every target of a service record, with its own port.
    Srv {
        /// The name, such as `_http._tcp.vllm.default.svc.cluster.local`.
        name: String,
    },
}

impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Dns { host, port } => write!(f, "dns://{host}:{port}"),
            Self::Srv { name } => write!(f, "srv://{name}"),
        }
    }
}

/// A source that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no source of workers: write it as file:PATH, dns://HOST:PORT or srv://NAME")]
pub struct BadSource(String);

impl FromStr for SourceConfig {
    type Err = BadSource;

    fn from_str(text: &str) -> Result<Self, BadSource> {
        let bad = || BadSource(text.to_owned());
        if let Some(path) = text.strip_prefix("file:") {
            return path.parse().map(Self::File).map_err(|_| bad());
        }
        if let Some(service) = text.strip_prefix("dns://") {
            return host_and_port(service).map(|(host, port)| Self::Dns { host, port }).ok_or_else(bad);
        }
        match text.strip_prefix("srv://") {
            Some(name) if !name.is_empty() => Ok(Self::Srv { name: name.to_owned() }),
            _ => Err(bad()),
        }
    }
}

/// What stands behind `dns://`.
pub(super) fn host_and_port(service: &str) -> Option<(String, u16)> {
    let (host, port) = service.rsplit_once(':').filter(|(host, _)| !host.is_empty())?;
    Some((host.to_owned(), port.parse().ok()?))
}

/// All sources: none, or some separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(pub Vec<SourceConfig>);

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("off");
        }
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(","))
    }
}

impl FromStr for Sources {
    type Err = BadSource;

    fn from_str(text: &str) -> Result<Self, BadSource> {
        if text == "off" {
            return Ok(Self::default());
        }
        text.split(',').map(|source| source.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written() {
        for text in
            ["off", "file:/etc/workers", "dns://vllm.local:8000,srv://_http._tcp.vllm", "dns://::1:80"]
        {
            assert_eq!(text.parse::<Sources>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_source_is_refused_with_what_would_be() {
        for text in
            ["", "file:", "dns://vllm", "dns://:80", "dns://vllm:x", "srv://", "consul://x", "file:a,"]
        {
            let error = text.parse::<Sources>().unwrap_err().to_string();
            assert!(error.contains("dns://HOST:PORT"), "{text}: {error}");
        }
    }
}
