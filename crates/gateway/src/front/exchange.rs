//! The accounts of one completion request: where it is booked, what it is counted as, how it is explained.
//!
//! An exchange is opened when the request arrives and closed when it is dropped, which happens exactly once, wherever the request's way
//! ends: with the answer's last byte, with a refusal, or with a client that goes away. Until something better is known it counts as
//! the latter.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use warmroute_routing::{Decision, Usage};

use super::headers;
use super::refusal::Refusal;
use crate::core::{Booking, Core};
use crate::show::metrics::{CLIENT_GONE, Ended};
use crate::sources::Worker;

/// One request, from its arrival to its end.
pub(super) struct Exchange {
    core: Arc<Core>,
    arrived: Instant,
    code: u16,
    placed: Option<Placed>,
}

/// Where a request is.
struct Placed {
    decision: Decision,
    /// `None` once the router has been told of the end.
    booking: Option<Booking>,
    worker: Arc<Worker>,
    attempts: usize,
}

impl Exchange {
    /// A request has arrived.
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, arrived: Instant::now(), code: CLIENT_GONE, placed: None }
    }

    /// It was decided where it goes.
    pub(super) fn place(&mut self, decision: Decision, booking: Booking, worker: Arc<Worker>) {
        self.placed = Some(Placed { decision, booking: Some(booking), worker, attempts: 1 });
    }

    /// It goes to another worker, for this cause.
    pub(super) fn move_to(&mut self, worker: Arc<Worker>, cause: &'static str) {
        let Some(placed) = &mut self.placed else { return };
        if let Some(booking) = &placed.booking {
            booking.moved(worker.id, cause);
        }
        placed.worker = worker;
        placed.attempts += 1;
    }

    /// The worker it is at, as people know it.
    pub(super) fn worker_name(&self) -> &str {
        self.placed.as_ref().map_or("none", |placed| &placed.worker.name)
    }

    /// Workers tried so far.
    pub(super) fn attempts(&self) -> usize {
        self.placed.as_ref().map_or(0, |placed| placed.attempts)
    }

    /// The first byte of a stream has come. A whole answer says nothing of when its first token was there.
    pub(super) fn first_token(&self) {
        if let Some(booking) = self.placed.as_ref().and_then(|placed| placed.booking.as_ref()) {
            booking.first_token(self.arrived.elapsed());
        }
    }

    /// The answer is complete. One that is an error did not use the worker's cache and is booked as aborted.
    pub(super) fn finished(&mut self, status: u16, usage: Option<Usage>) {
        self.code = status;
        let Some(placed) = &mut self.placed else { return };
        let booking = placed.booking.take();
        if !(200..300).contains(&status) {
            return;
        }
        if let Some(booking) = booking {
            booking.finish(usage);
        }
        if let (Some(usage), 1) = (usage, placed.attempts) {
            self.core.metrics.used(&usage, placed.decision.overlap);
        }
    }

    /// The answer broke off, which the client is told with this status or would have been.
    pub(super) fn failed(&mut self, code: u16) {
        self.code = code;
        if let Some(placed) = &mut self.placed {
            placed.booking = None;
        }
    }

    /// The end of a request that no worker answered.
    pub(super) fn refused(mut self, refusal: Refusal) -> Response {
        self.failed(refusal.status());
        let mut response = refusal.into_response();
        self.explain(response.headers_mut());
        response
    }

    /// Says in headers where the request went and why.
    pub(super) fn explain(&self, headers: &mut HeaderMap) {
        let Some(Placed { decision, worker, attempts, .. }) = &self.placed else { return };
        headers.insert(headers::WORKER, worker.header.clone());
        headers.insert(headers::POLICY, HeaderValue::from_static(decision.policy));
        headers.insert(headers::PROMPT_TOKENS, decision.prompt.0.into());
        headers.insert(headers::ATTEMPTS, (*attempts).into());
        let reason = if *attempts == 1 {
            headers.insert(headers::OVERLAP_TOKENS, decision.overlap.0.into());
            decision.reason.as_str()
        } else {
            "fallback"
        };
        headers.insert(headers::REASON, HeaderValue::from_static(reason));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let placed = self.placed.as_ref();
        self.core.metrics.ended(&Ended {
            worker: placed.map(|placed| &placed.worker.name),
            policy: placed.map_or("none", |placed| placed.decision.policy),
            code: self.code,
            took: self.arrived.elapsed(),
        });
    }
}
