//! Sends a request to one worker after another until one begins to answer.
//!
//! The gateway holds its own response head back until the first byte of a worker's body is there, because up to then a retry is
//! invisible to the client, and after it impossible. Retried is whatever another worker may do better: one that cannot be reached, a
//! connection that breaks before the first byte, a worker that falls silent or fails (500, 502, 503, 504), and one that has no room (429).
//! First come the decision's fallbacks, then any other worker that is up, and last the same worker again, on a fresh connection and
//! after a pause, if the connection was all that failed. Three bounds hold it: `max_attempts` for one request, the [`budget`](super::budget)
//! for all of them, since work that is done twice is how an overload becomes an outage, and `total_timeout_ms`.
//!
//! Dropping the future closes the connection to the worker that is being tried.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, timeout_at};
use warmroute_openai::ApiError;
use warmroute_routing::WorkerId;

use super::Gateway;
use super::budget;
use super::exchange::Exchange;
use super::refusal::{self, Refusal};
use crate::config::Millis;
use crate::lanes;
use crate::sources::catalogue::Among;
use crate::sources::{Attempt, Circuit, Outcome, State, Worker};
use crate::upstream::{Incoming, Outbound, UpstreamError};

/// A request on its way out.
pub(super) struct Outgoing {
    /// Who may get it, if not everybody.
    pub among: Among,
    /// Whether a worker that may have begun with it is no reason not to ask another: what models are asked changes nothing.
    pub repeatable: bool,
    pub method: Method,
    pub path: PathAndQuery,
    pub headers: HeaderMap,
    /// Shared by all attempts, never copied.
    pub body: Bytes,
}

/// Where a request goes.
pub(super) struct Target {
    /// Who gets it first.
    pub worker: Arc<Worker>,
    /// Who gets it next if that fails, best first.
    pub fallbacks: Vec<WorkerId>,
}

/// A worker's answer that has begun.
pub(super) struct Answer {
    pub head: Parts,
    /// The first piece of the body; `None` if the body is empty.
    pub first: Option<Frame<Bytes>>,
    pub rest: Incoming,
}

impl Answer {
    /// The worker refuses for want of room.
    pub(super) fn says_full(&self) -> bool {
        self.head.status == StatusCode::TOO_MANY_REQUESTS
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
    #[error("it went silent: its health checks get no answer")]
    Silent,
    #[error("the request took longer than it may")]
    Late,
}

type Tried = Result<Answer, Failure>;

/// Why another worker should be asked, if it should.
fn cause_to_retry(tried: &Tried, repeatable: bool) -> Option<&'static str> {
    Some(match tried {
        Err(Failure::Unreachable(_)) => "unreachable",
        _ if !repeatable => return None,
        Ok(answer) => match answer.head.status.as_u16() {
            500 => "failed",
            502..=504 => "unavailable",
            429 => "full",
            _ => return None,
        },
        Err(Failure::Broken(_)) => "broken",
        Err(Failure::Stalled) => "stalled",
        Err(Failure::Silent) => "silent",
        Err(Failure::Late) => return None,
    })
}

/// What it says of the worker.
fn outcome(tried: &Tried) -> Outcome {
    match tried {
        Ok(answer) if answer.head.status.is_server_error() => Outcome::Bad,
        // It is busy, which is no failure.
        Ok(answer) if answer.says_full() => Outcome::Unknown,
        Ok(_) => Outcome::Good,
        // Failing to connect may be our own fault, such as having no file descriptor left.
        Err(Failure::Unreachable(error)) if !error.nobody_there() => Outcome::Unknown,
        Err(Failure::Unreachable(_) | Failure::Broken(_) | Failure::Silent) => Outcome::Bad,
        Err(Failure::Stalled) => Outcome::Stalled,
        Err(Failure::Late) => Outcome::Unknown,
    }
}

impl Gateway {
    /// The first answer that any of the candidates begins, or the last error.
    pub(super) async fn forward(
        &self,
        outgoing: &Outgoing,
        Target { mut worker, fallbacks }: Target,
        exchange: &mut Exchange,
    ) -> Result<Answer, Refusal> {
        let mut fresh = false;
        self.budget.deposit(exchange.config.retry_percent);
        loop {
            let attempt = Attempt::begin(&self.core, &worker);
            let began = exchange.trace.is_some().then(Instant::now);
            let tried = self.attempt(&worker, outgoing, exchange, fresh).await;
            if let (Some(trace), Some(began)) = (&mut exchange.trace, began) {
                let became = tried.as_ref().map(|answer| answer.head.status.as_u16());
                trace.attempted(began, &worker.name, became.map_err(Failure::to_string));
            }
            attempt.ended(outcome(&tried), &self.fleet);
            // It has left, or will not.
            exchange.departure = None;
            let Some(cause) = cause_to_retry(&tried, outgoing.repeatable) else {
                return tried.map_err(|failure| refuse(&failure, &worker, exchange));
            };
            self.learn(&worker, &tried);
            let next = match exchange.attempts() < exchange.config.max_attempts {
                true => self.next(outgoing, &fallbacks, exchange, &tried),
                false => None,
            };
            let Some(next) = next.filter(|_| self.may_retry()) else {
                // If that is a worker's own error, it explains itself better than we could.
                return tried.map_err(|failure| refuse(&failure, &worker, exchange));
            };
            tracing::debug!(from = %worker.name, to = %next.name, cause, "retrying");
            fresh = next.id == worker.id;
            if fresh {
                sleep(budget::pause(exchange.attempts())).await;
            }
            worker = next;
            exchange.move_to(Arc::clone(&worker), cause);
        }
    }

    /// What a failure says beside its outcome.
    fn learn(&self, worker: &Worker, tried: &Tried) {
        match tried {
            Err(Failure::Unreachable(error)) if error.nobody_there() => worker.doubt(),
            Ok(answer) if answer.says_full() => worker.refused(&self.core),
            _ => {}
        }
    }

    /// Whom to ask next.
    fn next(
        &self,
        outgoing: &Outgoing,
        fallbacks: &[WorkerId],
        exchange: &Exchange,
        tried: &Tried,
    ) -> Option<Arc<Worker>> {
        let may = |worker: WorkerId| outgoing.among.as_ref().is_none_or(|among| among.contains(&worker));
        let fit = |worker: &Arc<Worker>| {
            worker.state() == State::Up
                && may(worker.id)
                && !exchange.has_tried(worker.id)
                && self.core.has_room(worker.id)
        };
        let mut named = fallbacks.iter().filter_map(|id| self.fleet.worker(*id));
        // The breakers keep some workers out of decisions, and health checks may have brought some back since: good enough now.
        let others = || {
            let workers = self.fleet.workers();
            let closed_first = |worker: &&Arc<Worker>| worker.circuit() != Circuit::Closed;
            workers.iter().filter(|worker| fit(worker)).min_by_key(closed_first).map(Arc::clone)
        };
        let again = || match tried {
            Err(Failure::Broken(_) | Failure::Unreachable(_)) => self.fleet.worker(exchange.worker_id()?),
            _ => None,
        };
        named.find(fit).or_else(others).or_else(again)
    }

    /// Takes a retry from the budget.
    pub(super) fn may_retry(&self) -> bool {
        let may = self.budget.withdraw(Instant::now());
        if !may {
            self.core.metrics.retry_refused();
        }
        may
    }

    /// One worker's answer up to its first byte.
    async fn attempt(&self, worker: &Worker, outgoing: &Outgoing, exchange: &Exchange, fresh: bool) -> Tried {
        let headers = exchange.onwards(worker.authorized(&outgoing.headers));
        let outbound = Outbound {
            method: outgoing.method.clone(),
            to: &worker.url,
            path: &outgoing.path,
            headers: &headers,
            body: &outgoing.body,
            fresh,
            departure: exchange.departure.as_ref(),
        };
        // Waited for where it stands: it is kilobytes of state, which whatever waits for it would move.
        let begin = pin!(async {
            let response = self.upstream.request(&outbound).await.map_err(|error| match error {
                UpstreamError::Connect(_) => Failure::Unreachable(error),
                UpstreamError::Broken(_) | UpstreamError::Malformed(_) => Failure::Broken(error),
            })?;
            lanes::abreast().await;
            let (head, mut rest) = response.into_parts();
            let first = rest.frame().await.transpose().map_err(Failure::Broken)?;
            Ok(Answer { head, first, rest })
        });
        // It has left, and nobody waits for us.
        let silenced = async {
            self.core.write_up();
            worker.silenced().await;
        };
        let answered = async {
            tokio::select! {
                biased;
                begun = begin => begun,
                () = silenced => Err(Failure::Silent),
            }
        };
        let until = Instant::now() + exchange.config.first_byte_timeout_ms.duration();
        match exchange.ends() {
            Some(end) if end < until => timeout_at(end, answered).await.unwrap_or(Err(Failure::Late)),
            _ => timeout_at(until, answered).await.unwrap_or(Err(Failure::Stalled)),
        }
    }
}

fn refuse(failure: &Failure, worker: &Worker, exchange: &Exchange) -> Refusal {
    let config = &exchange.config;
    let error = match failure {
        Failure::Stalled => ApiError::worker_timeout(&worker.name, config.first_byte_timeout_ms.0),
        Failure::Late => refusal::too_long(config.total_timeout_ms.0.unwrap_or(Millis(0))),
        Failure::Unreachable(_) | Failure::Broken(_) | Failure::Silent => {
            ApiError::worker_lost(&worker.name, failure)
        }
    };
    Refusal::after(exchange.attempts(), error)
}
