//! A small HTTP client for one server: JSON in, JSON or a stream out, with every wait bounded.
//!
//! Plain HTTP/1.1 on pooled connections, since workers and gateways of a lab sit on loopback or a cluster's network.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use warmroute_openai::ApiError;
use warmroute_openai::response::ModelList;

/// Longest wait for an answer that is not a completion: a worker in the middle of a long prefill answers late.
const ADMINISTRATION_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest answer that is read whole; token ids of a 100,000-token prompt take 0.7 MB.
const ANSWER_BYTES: usize = 16 << 20;

/// Scheme, host and port of a server, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Host and port, which is what a gateway calls a worker.
    pub fn authority(&self) -> &str {
        self.0.strip_prefix("http://").unwrap_or(&self.0)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for BaseUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let wrong = |why| UrlError { url: text.to_owned(), why };
        let uri: Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("it does not start with http://"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(wrong("it has a path; /v1/... is added to it"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        Ok(Self(format!("http://{authority}")))
    }
}

/// An address we cannot send requests to.
#[derive(Debug, thiserror::Error)]
#[error("`{url}` cannot be used: {why}; hint: write it like http://127.0.0.1:8000")]
pub struct UrlError {
    url: String,
    why: &'static str,
}

/// One server, with its own pool of connections; a clone shares the pool.
#[derive(Clone, Debug)]
pub struct Server {
    base: BaseUrl,
    http: Arc<Client<HttpConnector, Full<Bytes>>>,
}

impl Server {
    /// A server that is connected to at its first request.
    pub fn new(base: BaseUrl) -> Self {
        let mut connector = HttpConnector::new();
        // A request is one small write: waiting to fill a packet would be measured as latency.
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        Self { base, http: Arc::new(Client::builder(TokioExecutor::new()).build(connector)) }
    }

    /// Where it is.
    pub fn base(&self) -> &BaseUrl {
        &self.base
    }

    /// Names of the models it serves.
    ///
    /// # Errors
    /// If it does not answer as an OpenAI-compatible server does.
    pub async fn models(&self) -> Result<Vec<String>, CallError> {
        let list: ModelList = self.call(Method::GET, "/v1/models", None).await?;
        Ok(list.data.into_iter().map(|card| card.id).collect())
    }

    /// Drops everything in a worker's prefix cache.
    ///
    /// # Errors
    /// If the worker does not say that it did.
    pub async fn reset_cache(&self) -> Result<(), CallError> {
        self.fetch(Method::POST, "/reset_prefix_cache", None).await.map(drop)
    }

    /// Asks for `path` and throws the answer away.
    ///
    /// # Errors
    /// If the answer is not one of success.
    pub async fn get(&self, path: &str) -> Result<(), CallError> {
        self.fetch(Method::GET, path, None).await.map(drop)
    }

    /// Sends `body` as JSON and reads the answer as JSON.
    ///
    /// # Errors
    /// If the answer is not one of success, or is not what was asked for.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallError> {
        self.call(Method::POST, path, Some(to_json(body))).await
    }

    /// Sends `body` as JSON and hands back the answer as it begins, whatever its status.
    pub(crate) async fn open(&self, path: &str, body: Bytes) -> Result<Response<Incoming>, CallError> {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<T, CallError> {
        let answer = self.fetch(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|source| CallError::Malformed { url: self.url(path), source })
    }

    async fn fetch(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes, CallError> {
        let exchange = async {
            let response = self.send(method, path, body).await?;
            let status = response.status();
            let answer = self.read(path, response.into_body()).await?;
            if status.is_success() {
                Ok(answer)
            } else {
                Err(CallError::refused(self.url(path), status, &answer))
            }
        };
        tokio::time::timeout(ADMINISTRATION_TIMEOUT, exchange).await.unwrap_or_else(|_| {
            Err(CallError::TimedOut { url: self.url(path), waited: ADMINISTRATION_TIMEOUT })
        })
    }

    /// The rest of an answer, up to [`ANSWER_BYTES`].
    pub(crate) async fn read(&self, path: &str, body: Incoming) -> Result<Bytes, CallError> {
        match Limited::new(body, ANSWER_BYTES).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(source) => Err(CallError::Broken { url: self.url(path), source }),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, CallError> {
        let request = http::Request::builder()
            .method(method)
            .uri(self.url(path))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.unwrap_or_default()))
            .expect("a checked base and a path of our own make a URL");
        let sent = self.http.request(request).await;
        sent.map_err(|source| CallError::Unreachable { url: self.url(path), source })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// Why a server's answer could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, or none that lasted until the answer's head.
    #[error("{url} cannot be reached: {}; hint: is the server running there?", root_cause(source))]
    Unreachable {
        /// What was asked for.
        url: String,
        /// The transport's complaint.
        source: hyper_util::client::legacy::Error,
    },
    /// The answer ended before its end.
    #[error("the answer of {url} broke off: {source}; hint: the server's log says why")]
    Broken {
        /// What was asked for.
        url: String,
        /// The transport's complaint.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer of failure.
    #[error("{url} answered {status}: {message}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The status.
        status: StatusCode,
        /// What the server said about it.
        message: String,
    },
    /// An answer in another shape than expected.
    #[error(
        "{url} answered with something else than expected: {source}; hint: is it an OpenAI-compatible server?"
    )]
    Malformed {
        /// What was asked for.
        url: String,
        /// The parser's complaint.
        source: serde_json::Error,
    },
    /// No answer in time.
    #[error("{url} did not answer within {} s; hint: it may be overloaded, see its log", waited.as_secs())]
    TimedOut {
        /// What was asked for.
        url: String,
        /// How long we waited.
        waited: Duration,
    },
}

impl CallError {
    pub(crate) fn refused(url: String, status: StatusCode, answer: &[u8]) -> Self {
        let said = ApiError::from_body(status.as_u16(), answer);
        let message =
            said.map_or_else(|| String::from_utf8_lossy(answer).chars().take(200).collect(), |e| e.message);
        Self::Refused { url, status, message }
    }

    /// The HTTP status, where there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// The innermost cause, which is the one that names the trouble (`Connection refused`).
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

pub(crate) fn to_json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("the lab's bodies have string keys only and write to memory").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_scheme_host_and_port_only() {
        assert_eq!("http://127.0.0.1:8000/".parse::<BaseUrl>().unwrap().to_string(), "http://127.0.0.1:8000");
        for wrong in ["https://a:1", "127.0.0.1:8000", "http://a:1/v1", "http://a:1/?x=1", ""] {
            let error = wrong.parse::<BaseUrl>().unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("hint:"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_with_the_cause() {
        // Bound and dropped: the port is free, so nobody listens on it.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = Server::new(format!("http://{address}").parse().unwrap());
        let error = server.models().await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("refused"), "{error}");
    }
}
