//! Tries out a worker whose circuit is open, at nobody's expense: it is asked for a token of our own.
//!
//! `/health` tells that a server listens, not that its engine answers, and a client's request would pay for finding out. So the trial is
//! the least that an engine can do: one token after a prompt of one. As many have to come in a row as failures open a circuit, since a
//! worker that fails now and then answers now and then. Where asking tells nothing (a worker that names no models, is busy, wants a client's key
//! or makes no completions), the circuit is half-open instead, and requests are to tell.

use std::future::pending;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use tokio::time::{Instant, sleep_until, timeout};

use super::Worker;
use super::breaker::IN_A_ROW;
use super::health::{Checker, read};
use super::window::Outcome;
use crate::upstream::{Outbound, UpstreamError};

impl Checker {
    /// Tries the worker out whenever its breaker's pause is over, for as long as it is polled.
    pub(super) async fn mend_circuit(&self, worker: &Worker) {
        loop {
            let due = worker.breaker.lock().due();
            let wait = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = worker.opened.notified() => continue,
                () = wait => {}
            }
            let outcome = self.try_out(worker).await;
            worker.change_circuit(&self.core, |breaker| breaker.tried(outcome, Instant::now()));
        }
    }

    async fn try_out(&self, worker: &Worker) -> Outcome {
        let description = worker.description();
        let Some(model) = description.model_ids().first().copied() else { return Outcome::Unknown };
        let body = serde_json::json!({"model": model, "prompt": "1", "max_tokens": 1, "stream": false});
        let body = Bytes::from(body.to_string());
        for _ in 0..IN_A_ROW {
            let limit = self.config.now().probe_timeout_ms.duration();
            let outcome = timeout(limit, self.ask_for_a_token(worker, &body)).await.unwrap_or(Outcome::Bad);
            if outcome != Outcome::Good {
                return outcome;
            }
        }
        Outcome::Good
    }

    async fn ask_for_a_token(&self, worker: &Worker, body: &Bytes) -> Outcome {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let asked = Outbound {
            method: Method::POST,
            to: &worker.url,
            path: &PathAndQuery::from_static("/v1/completions"),
            headers: &worker.authorized(&headers),
            body,
            // What was open before may have been closed meanwhile, which says nothing about now.
            fresh: true,
            departure: None,
        };
        match self.upstream.request(&asked).await {
            Ok(answer) if answer.status().is_server_error() => Outcome::Bad,
            Ok(answer) if !answer.status().is_success() => Outcome::Unknown,
            Ok(answer) => match read(answer).await {
                Some(_) => Outcome::Good,
                None => Outcome::Bad,
            },
            // Failing to connect may be our own fault, such as having no file descriptor left.
            Err(error @ UpstreamError::Connect(_)) if !error.nobody_there() => Outcome::Unknown,
            Err(_) => Outcome::Bad,
        }
    }
}
