//! Sends a request whose body is passed on as it comes to the first worker that can be reached.
//!
//! Until a worker is reached nothing has been taken of the body's rest, so another may be tried; from then on there is no second try.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use warmroute_openai::ApiError;
use warmroute_routing::WorkerId;

use super::Gateway;
use super::exchange::Exchange;
use super::forward::{Answer, Outgoing, Target};
use super::intake::Rest;
use super::refusal::Refusal;
use crate::config::Millis;
use crate::sources::{Attempt, Outcome, State, Worker};
use crate::upstream::{Interrupted, Outbound, UpstreamError};

impl Gateway {
    /// The answer to a request whose body begins with that of `outgoing`.
    pub(super) async fn pass_through<B>(
        &self,
        outgoing: &Outgoing,
        Target { mut worker, fallbacks }: Target,
        mut rest: Rest<B>,
        exchange: &mut Exchange,
    ) -> Result<Answer, Refusal>
    where
        B: Body<Data = Bytes, Error: Display> + Unpin,
    {
        let config = Arc::clone(&exchange.config);
        // The body has a limit of its own.
        let limit = Millis(config.first_byte_timeout_ms.0.saturating_add(config.body_timeout_ms.0));
        let mut fallbacks = fallbacks.iter();
        loop {
            let trial = Attempt::begin(&self.core, &worker);
            let began = Instant::now();
            let attempt = self.pass_to(&worker, outgoing, &mut rest, exchange);
            let tried = timeout(limit.duration(), attempt).await;
            if let Some(trace) = &mut exchange.trace {
                trace.attempted(began, &worker.name, became(&tried));
            }
            trial.ended(outcome(&tried), &self.fleet);
            let failed = match tried {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Interrupted::Body(error))) => return Err(error.into()),
                Ok(Err(Interrupted::Worker(error))) => error,
                Err(_) => return Err(ApiError::worker_timeout(&worker.name, limit.0).into()),
            };
            if failed.nobody_there() {
                worker.doubt();
            }
            let up = |id: &WorkerId| self.fleet.worker(*id).filter(|worker| worker.state() == State::Up);
            let may_retry =
                matches!(failed, UpstreamError::Connect(_)) && exchange.attempts() < config.max_attempts;
            let Some(next) = may_retry.then(|| fallbacks.find_map(up)).flatten() else {
                let error = ApiError::worker_lost(&worker.name, failed);
                return Err(Refusal::after(exchange.attempts(), error));
            };
            worker = next;
            exchange.move_to(Arc::clone(&worker), "unreachable");
        }
    }

    async fn pass_to<B>(
        &self,
        worker: &Worker,
        outgoing: &Outgoing,
        rest: &mut Rest<B>,
        exchange: &Exchange,
    ) -> Result<Answer, Interrupted<ApiError>>
    where
        B: Body<Data = Bytes, Error: Display> + Unpin,
    {
        let headers = exchange.onwards(worker.authorized(&outgoing.headers));
        let outbound = Outbound {
            method: outgoing.method.clone(),
            to: &worker.url,
            path: &outgoing.path,
            headers: &headers,
            body: &outgoing.body,
            fresh: false,
            departure: None,
        };
        let response = self.upstream.request_streamed(&outbound, rest.length, rest).await?;
        let (head, mut rest) = response.into_parts();
        let first = rest.frame().await.transpose()?;
        Ok(Answer { head, first, rest })
    }
}

type Tried = Result<Result<Answer, Interrupted<ApiError>>, Elapsed>;

/// What it says of the worker.
fn outcome(tried: &Tried) -> Outcome {
    match tried {
        Ok(Ok(answer)) if answer.head.status.is_server_error() => Outcome::Bad,
        Ok(Ok(_)) => Outcome::Good,
        Ok(Err(Interrupted::Worker(error))) if error.nobody_there() => Outcome::Bad,
        // It may have been the client that was slow, or broke off.
        Ok(Err(_)) | Err(_) => Outcome::Unknown,
    }
}

/// The status of the answer, or why there is none.
fn became(tried: &Tried) -> Result<u16, String> {
    match tried {
        Ok(Ok(answer)) => Ok(answer.head.status.as_u16()),
        Ok(Err(Interrupted::Worker(error))) => Err(error.to_string()),
        Ok(Err(Interrupted::Body(error))) => Err(error.to_string()),
        Err(elapsed) => Err(elapsed.to_string()),
    }
}
