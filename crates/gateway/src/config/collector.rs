//! Where traces are told: the URL of an OTLP collector.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::PathAndQuery;

use super::worker::{Link, WorkerUrl};

/// Where a collector listens for traces where its URL does not say, as OpenTelemetry has it.
const TRACES: &str = "/v1/traces";

/// An OTLP collector that speaks HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    pub(crate) url: WorkerUrl,
    pub(crate) path: PathAndQuery,
}

/// What is no such URL.
#[derive(Debug, thiserror::Error)]
#[error("it is not like http://127.0.0.1:4318 or https://collector/v1/traces")]
pub struct NoCollector;

impl FromStr for Collector {
    type Err = NoCollector;

    fn from_str(text: &str) -> Result<Self, NoCollector> {
        let parts = text.parse::<Uri>().map_err(|_| NoCollector)?.into_parts();
        let link = match parts.scheme.as_ref().map(http::uri::Scheme::as_str) {
            Some("http") => Link::Http,
            Some("https") => Link::Https,
            _ => return Err(NoCollector),
        };
        let authority =
            parts.authority.filter(|authority| !authority.as_str().contains('@')).ok_or(NoCollector)?;
        let path = parts.path_and_query.filter(|path| path.as_str() != "/");
        let path = path.unwrap_or_else(|| PathAndQuery::from_static(TRACES));
        Ok(Self { url: WorkerUrl::new(link, authority), path })
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.url, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_listens_where_its_url_says_or_where_all_do() {
        for (text, full) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://c/", "http://c/v1/traces"),
            ("https://c:1/otlp/v1/traces?x=1", "https://c:1/otlp/v1/traces?x=1"),
        ] {
            assert_eq!(text.parse::<Collector>().unwrap().to_string(), full);
        }
        for text in ["", "c:4318", "grpc://c:4317", "http://me@c"] {
            assert!(text.parse::<Collector>().is_err(), "{text}");
        }
    }
}
