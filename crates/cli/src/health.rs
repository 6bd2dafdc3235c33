//! `warmroute health`: one GET, for container health checks in images without curl.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use warmroute_lab::client::{BaseUrl, Server};

use crate::Verdict;

/// Ask a gateway or worker whether it is healthy; exit code 0 if it answers with success
#[derive(Args)]
pub(crate) struct Flags {
    /// What to ask; /health is added to a URL without a path
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8000")]
    url: String,
    /// Milliseconds to wait for the answer
    #[arg(long, value_name = "MS", env = "WARMROUTE_HEALTH_TIMEOUT_MS", default_value_t = 5000)]
    timeout_ms: u64,
}

pub(crate) async fn run(flags: Flags) -> anyhow::Result<Verdict> {
    let (base, path) = split(&flags.url)?;
    let server = Server::new(base);
    match tokio::time::timeout(Duration::from_millis(flags.timeout_ms), server.get(path)).await {
        Ok(answer) => answer?,
        Err(_) => bail!("{} did not answer within {} ms; hint: see its log", flags.url, flags.timeout_ms),
    }
    Ok(Verdict::Well)
}

/// Scheme, host and port; and the path, or the usual one.
fn split(url: &str) -> anyhow::Result<(BaseUrl, &str)> {
    let host = url.find("://").map_or(0, |place| place + 3);
    let (base, path) = match url[host..].find('/') {
        Some(slash) if slash + host + 1 < url.len() => url.split_at(host + slash),
        _ => (url, "/health"),
    };
    Ok((base.parse().context("this URL cannot be asked")?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_means_health() {
        for (url, base, path) in [
            ("http://a:1", "http://a:1", "/health"),
            ("http://a:1/", "http://a:1", "/health"),
            ("http://a:1/readyz", "http://a:1", "/readyz"),
            ("http://a:1/v1/models?x=1", "http://a:1", "/v1/models?x=1"),
        ] {
            let (found, rest) = split(url).unwrap();
            assert_eq!((found.to_string().as_str(), rest), (base, path));
        }
        assert!(split("a:1").is_err());
    }
}
