//! The types of settings: each is written and read as one piece of text, in the file as on the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A span of time as written in the settings: whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// The same span as the standard library's type.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Millis {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// How "none of it" is written.
const OFF: &str = "off";

/// A setting that may be `off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Optional<T>(pub Option<T>);

impl<T> Optional<T> {
    /// Nothing of it.
    pub const OFF: Self = Self(None);
}

impl<T: fmt::Display> fmt::Display for Optional<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str(OFF),
        }
    }
}

impl<T: FromStr> FromStr for Optional<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == OFF { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

/// The path of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(pub PathBuf);

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A path of no length.
#[derive(Debug, thiserror::Error)]
#[error("it names no file")]
pub struct NoPath;

impl FromStr for FilePath {
    type Err = NoPath;

    fn from_str(text: &str) -> Result<Self, NoPath> {
        if text.is_empty() { Err(NoPath) } else { Ok(Self(text.into())) }
    }
}

/// Where lines are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// The process's standard output.
    Stdout,
    /// The process's standard error, where the log is too.
    Stderr,
    /// The end of a file, which is created if it is missing.
    File(FilePath),
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.fmt(f),
        }
    }
}

impl FromStr for Sink {
    type Err = NoPath;

    fn from_str(text: &str) -> Result<Self, NoPath> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            path => path.parse().map(Self::File),
        }
    }
}

/// Something that must not be shown: written as itself, or as `env:NAME` to be read from the environment.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What it is. For comparing and sending, never for showing.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A secret that cannot be used; says nothing of what it is.
#[derive(Debug, thiserror::Error)]
pub enum BadSecret {
    /// The environment does not have it.
    #[error("the environment variable {0} is not set")]
    Missing(String),
    /// Not even a header could carry it.
    #[error("it is empty or has characters that no header may carry")]
    Unprintable,
}

impl FromStr for Secret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let secret = match text.strip_prefix("env:") {
            Some(name) => std::env::var(name).map_err(|_| BadSecret::Missing(name.to_owned()))?,
            None => text.to_owned(),
        };
        let printable = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if printable { Ok(Self(secret)) } else { Err(BadSecret::Unprintable) }
    }
}

/// Reads a TOML value through the type's own parser. Numbers are taken as they would be written on the command line.
pub(super) fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// The same for a number that may also be a word, as `off`.
pub(super) fn from_number<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Word(String),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Number(number) => number.to_string(),
        Written::Word(word) => word,
    };
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written() {
        for text in ["off", "127.0.0.1:9000"] {
            assert_eq!(text.parse::<Optional<std::net::SocketAddr>>().unwrap().to_string(), text);
        }
        for text in ["stdout", "stderr", "/var/log/a.jsonl"] {
            assert_eq!(text.parse::<Sink>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let secret: Secret = "sk-1".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "(secret)");
        assert_eq!(secret.reveal(), "sk-1");
        assert!("two words".parse::<Secret>().is_err());
        let missing = "env:WARMROUTE_NO_SUCH_VARIABLE".parse::<Secret>().unwrap_err().to_string();
        assert!(missing.contains("WARMROUTE_NO_SUCH_VARIABLE is not set"), "{missing}");
    }
}
