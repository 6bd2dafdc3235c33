//! Asking a worker as the gateway would: the same client, the same key.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tokio::time::{Duration, timeout};

use crate::config::WorkerConfig;
use crate::sources::bearer;
use crate::upstream::{Outbound, Upstream, UpstreamError};

/// A worker's `/metrics` is the largest answer read here.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// What tells of itself is at hand at once.
const ASKING: Duration = Duration::from_secs(10);
/// A CPU worker that reads a few hundred tokens while others are before it.
const READING: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    #[error("it does not answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("its answer breaks off, or is longer than {MOST_BYTES} bytes")]
    Broken,
}

/// What a worker answered.
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON, or null.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What an error says.
    pub(super) fn complaint(&self) -> String {
        let json = self.json();
        let told = json["error"]["message"].as_str().or(json["message"].as_str()).or(json["detail"].as_str());
        let text = told.map_or_else(|| String::from_utf8_lossy(&self.body).into_owned(), str::to_owned);
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
        format!("{}: {line}", self.status)
    }
}

/// Whoever asks one worker.
pub(super) struct Visit<'a> {
    upstream: &'a Upstream,
    worker: &'a WorkerConfig,
    headers: HeaderMap,
}

impl<'a> Visit<'a> {
    pub(super) fn to(worker: &'a WorkerConfig, upstream: &'a Upstream) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &worker.api_key {
            headers.insert(AUTHORIZATION, HeaderValue::clone(&bearer(key)));
        }
        Self { upstream, worker, headers }
    }

    pub(super) async fn get(&self, path: &'static str) -> Result<Answer, NoAnswer> {
        self.ask(Method::GET, path, Bytes::new(), ASKING).await
    }

    pub(super) async fn post(&self, path: &'static str, body: &Value) -> Result<Answer, NoAnswer> {
        self.ask(Method::POST, path, body.to_string().into(), READING).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &'static str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Answer, NoAnswer> {
        let path = PathAndQuery::from_static(path);
        let outbound = Outbound {
            method,
            to: &self.worker.url,
            path: &path,
            headers: &self.headers,
            body: &body,
            fresh: true,
            departure: None,
        };
        let asked = async {
            let response = self.upstream.request(&outbound).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
            Ok(Answer { status, body: body.map_err(|_| NoAnswer::Broken)?.to_bytes() })
        };
        timeout(patience, asked).await.map_err(|_| NoAnswer::Slow(patience))?
    }
}
