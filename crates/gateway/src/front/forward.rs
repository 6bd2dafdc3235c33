//! Sends a request to one worker after another until one begins to answer.
//!
//! The gateway holds its own response head back until the first byte of a worker's body is there, because up to then a retry is
//! invisible to the client, and after it impossible. Three things are retried: a worker that cannot be reached, a connection that breaks
//! before the first byte, and a worker that says 502 or 503. A timeout is not: the work may be under way, and doing it twice is
//! how an overload becomes an outage. Every worker is tried at most once, and at most `max_attempts` of them.
//!
//! Dropping the future closes the connection to the worker that is being tried.

use std::sync::Arc;

use bytes::Bytes;
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::timeout;
use warmroute_openai::ApiError;
use warmroute_routing::WorkerId;

use super::Gateway;
use super::exchange::Exchange;
use super::refusal::Refusal;
use crate::sources::{State, Worker};
use crate::upstream::{Incoming, Outbound, UpstreamError};

/// A request on its way out.
pub(super) struct Outgoing {
    /// Who gets it first.
    pub worker: Arc<Worker>,
    /// Who gets it next if that fails, best first.
    pub fallbacks: Vec<WorkerId>,
    pub method: Method,
    pub path: PathAndQuery,
    pub headers: HeaderMap,
    /// Shared by all attempts, never copied.
    pub body: Bytes,
}

/// A worker's answer that has begun.
pub(super) struct Answer {
    pub head: Parts,
    /// The first piece of the body; `None` if the body is empty.
    pub first: Option<Frame<Bytes>>,
    pub rest: Incoming,
}

impl Answer {
    /// The worker, or a proxy before it, says that it cannot take requests now; another worker may.
    fn asks_for_another(&self) -> bool {
        matches!(self.head.status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE)
    }
}

/// Why one worker gave no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it could not be reached ({0})")]
    Unreachable(UpstreamError),
    #[error("the connection broke before the first byte ({0})")]
    Broken(UpstreamError),
    #[error("it sent nothing in time")]
    Stalled,
}

/// Why another worker should be asked, if it should.
fn cause_to_retry(tried: &Result<Answer, Failure>) -> Option<&'static str> {
    match tried {
        Ok(answer) => answer.asks_for_another().then_some("unavailable"),
        Err(Failure::Unreachable(_)) => Some("unreachable"),
        Err(Failure::Broken(_)) => Some("broken"),
        Err(Failure::Stalled) => None,
    }
}

impl Gateway {
    /// The first answer that any of the candidates begins, or the last error.
    pub(super) async fn forward(
        &self,
        outgoing: &Outgoing,
        exchange: &mut Exchange,
    ) -> Result<Answer, Refusal> {
        let config = self.config.now();
        let mut worker = Arc::clone(&outgoing.worker);
        let mut fallbacks = outgoing.fallbacks.iter();
        loop {
            let tried = self.attempt(&worker, outgoing).await;
            let cause = cause_to_retry(&tried);
            if let Err(Failure::Unreachable(error)) = &tried
                && error.nobody_there()
            {
                worker.doubt();
            }
            let may_retry = cause.is_some() && exchange.attempts() < config.max_attempts;
            let up = |id: &WorkerId| self.fleet.worker(*id).filter(|worker| worker.state() == State::Up);
            let next = may_retry.then(|| fallbacks.find_map(up)).flatten();
            let (Some(cause), Some(next)) = (cause, next) else {
                // If that is a worker's own 503, it explains itself better than we could.
                return tried.map_err(|failure| self.refuse(&failure, &worker, exchange.attempts()));
            };
            tracing::debug!(from = %worker.name, to = %next.name, cause, "retrying on another worker");
            worker = next;
            exchange.move_to(Arc::clone(&worker), cause);
        }
    }

    /// One worker's answer up to its first byte.
    async fn attempt(&self, worker: &Worker, outgoing: &Outgoing) -> Result<Answer, Failure> {
        let headers = worker.authorized(&outgoing.headers);
        let outbound = Outbound {
            method: outgoing.method.clone(),
            authority: worker.authority(),
            path: &outgoing.path,
            headers: &headers,
            body: &outgoing.body,
        };
        let begin = async {
            let response = self.upstream.request(&outbound).await.map_err(|error| match error {
                UpstreamError::Connect(_) => Failure::Unreachable(error),
                UpstreamError::Broken(_) | UpstreamError::Malformed(_) => Failure::Broken(error),
            })?;
            let (head, mut rest) = response.into_parts();
            let first = rest.frame().await.transpose().map_err(Failure::Broken)?;
            Ok(Answer { head, first, rest })
        };
        timeout(self.config.now().first_byte_timeout_ms.duration(), begin)
            .await
            .unwrap_or(Err(Failure::Stalled))
    }

    fn refuse(&self, failure: &Failure, worker: &Worker, attempts: usize) -> Refusal {
        let error = match failure {
            Failure::Stalled => {
                ApiError::worker_timeout(&worker.name, self.config.now().first_byte_timeout_ms.0)
            }
            Failure::Unreachable(_) | Failure::Broken(_) => ApiError::worker_lost(&worker.name, failure),
        };
        Refusal::after(attempts, error)
    }
}
