//! The accounts of one completion request: where it is booked, what it is counted as, how it is explained.
//!
//! An exchange is opened when the request arrives and closed when it is dropped, which happens exactly once, wherever the request's way
//! ends: with the answer's last byte, with a refusal, or with a client that goes away. Until something better is known it counts as
//! the latter.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Request};
use tokio::time::Instant;
use warmroute_kv::Tokens;
use warmroute_routing::{Decision, Usage, WorkerId};

use super::Gateway;
use super::headers;
use super::look::Look;
use super::refusal::Refusal;
use super::tokens::Count;
use crate::config::{GatewayConfig, Millis};
use crate::core::{Booking, Core};
use crate::journal::{Entry, Journal};
use crate::keys::Pass;
use crate::show::metrics::{CLIENT_GONE, Ended};
use crate::sources::{Answer, Worker};
use crate::spans::Trace;
use crate::upstream::Departure;

/// One request, from its arrival to its end.
pub(super) struct Exchange {
    core: Arc<Core>,
    /// The settings that were in force then.
    pub(super) config: Arc<GatewayConfig>,
    arrived: Instant,
    /// How long it took, once its answer is complete.
    took: Option<Duration>,
    code: u16,
    placed: Option<Placed>,
    /// When its time is over, if it has a limit.
    ends: Option<Instant>,
    /// The client's right to ask, if one is needed; held until the end, since it counts requests at once.
    pass: Option<Pass>,
    journal: Arc<Journal>,
    /// What is written down, if anything is.
    entry: Option<Entry>,
    /// How long its prompt is by our count, in token mode.
    count: Option<Count>,
    /// What its worker's events would have predicted, where they are not believed.
    pub(super) rehearsed: Option<Tokens>,
    /// Its worker could not be heard when it was decided.
    pub(super) late: bool,
    /// Its place among those that leave for its worker, until it has left.
    pub(super) departure: Option<Departure>,
    /// What its time goes into, if anybody wants to know.
    pub(super) trace: Option<Box<Trace>>,
}

/// Where a request is.
struct Placed {
    decision: Decision,
    /// `None` once the router has been told of the end.
    booking: Option<Booking>,
    worker: Arc<Worker>,
    /// Those it was at before; hardly ever anybody.
    before: Vec<WorkerId>,
}

impl Placed {
    /// Workers tried so far, one that was tried twice counted twice.
    fn attempts(&self) -> usize {
        self.before.len() + 1
    }
}

impl Exchange {
    /// A request has arrived.
    pub(super) fn new<B>(gateway: &Gateway, id: &HeaderValue, request: &Request<B>) -> Self {
        let journal = Arc::clone(&gateway.journal);
        let trace = gateway.spans.begin(request.headers());
        let wanted = journal.wants_entries() || trace.is_some();
        let entry = wanted.then(|| Entry::new(id.clone(), request.method().clone(), request.uri().path()));
        let (core, arrived) = (Arc::clone(&gateway.core), Instant::now());
        let config = gateway.config.now();
        let ends = config.total_timeout_ms.0.map(|limit| arrived + limit.duration());
        Self {
            core,
            config,
            arrived,
            took: None,
            code: CLIENT_GONE,
            placed: None,
            ends,
            pass: None,
            journal,
            entry,
            count: None,
            rehearsed: None,
            late: false,
            departure: None,
            trace,
        }
    }

    /// It was let in.
    pub(super) fn admitted(&mut self, pass: Option<Pass>) {
        if let (Some(entry), Some(pass)) = (&mut self.entry, &pass) {
            entry.key = Some(Arc::clone(pass.name()));
        }
        self.pass = pass;
    }

    /// What it asks has been looked at.
    pub(super) fn seen(&mut self, look: &Look<'_>, body_bytes: usize) {
        self.count = look.count();
        let Some(entry) = &mut self.entry else { return };
        look.model().clone_into(&mut entry.model);
        entry.body_bytes = body_bytes as u64;
        entry.blocks = self.journal.wants_prompts().then(|| look.prompt());
    }

    /// A piece of the answer goes to the client.
    pub(super) fn passed(&mut self, bytes: usize) {
        if let Some(entry) = &mut self.entry {
            entry.answer_bytes += bytes as u64;
            entry.pieces = entry.pieces.saturating_add(1);
        }
    }

    /// It was decided where it goes.
    pub(super) fn place(&mut self, decision: Decision, booking: Booking, worker: Arc<Worker>) {
        let mut before = Vec::new();
        if let Some(placed) = self.placed.take() {
            before = placed.before;
            before.push(placed.worker.id);
        }
        self.placed = Some(Placed { decision, booking: Some(booking), worker, before });
    }

    /// The worker it was at has no room after all: it waits for another place.
    pub(super) fn displaced(&mut self) {
        if let Some(placed) = &mut self.placed {
            placed.booking = None;
        }
        self.core.metrics.retried("full");
    }

    /// When its time is over, if it has a limit.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// These headers as a worker gets them: where the request is traced, they say by which span it is asked.
    pub(super) fn onwards<'h>(&self, mut headers: Cow<'h, HeaderMap>) -> Cow<'h, HeaderMap> {
        if let Some(trace) = &self.trace {
            trace.onwards(headers.to_mut());
        }
        headers
    }

    /// All the time it may take.
    pub(super) fn limit(&self) -> Millis {
        let limit = self.ends.map_or(0, |ends| ends.duration_since(self.arrived).as_millis());
        Millis(u64::try_from(limit).unwrap_or(u64::MAX))
    }

    /// The name of the client's key; empty if it showed none.
    pub(super) fn key(&self) -> Arc<str> {
        self.pass.as_ref().map_or_else(|| "".into(), |pass| Arc::clone(pass.name()))
    }

    /// It goes to another worker, for this cause.
    pub(super) fn move_to(&mut self, worker: Arc<Worker>, cause: &'static str) {
        let Some(placed) = &mut self.placed else { return };
        if let Some(booking) = &placed.booking {
            booking.moved(worker.id, cause);
        }
        placed.before.push(placed.worker.id);
        placed.worker = worker;
    }

    /// The worker it is at, as people know it.
    pub(super) fn worker_name(&self) -> &str {
        self.placed.as_ref().map_or("none", |placed| &placed.worker.name)
    }

    /// The worker it is at.
    pub(super) fn worker_id(&self) -> Option<WorkerId> {
        self.placed.as_ref().map(|placed| placed.worker.id)
    }

    /// Whether it was at this worker.
    pub(super) fn has_tried(&self, worker: WorkerId) -> bool {
        self.placed
            .as_ref()
            .is_some_and(|placed| placed.worker.id == worker || placed.before.contains(&worker))
    }

    /// Workers tried so far, one that was tried twice counted twice.
    pub(super) fn attempts(&self) -> usize {
        self.placed.as_ref().map_or(0, Placed::attempts)
    }

    /// The first byte of a stream has come. A whole answer says nothing of when its first token was there.
    pub(super) fn first_token(&mut self) {
        let after = self.arrived.elapsed();
        if let Some(entry) = &mut self.entry {
            entry.first_token = Some(after);
        }
        if let Some(booking) = self.placed.as_ref().and_then(|placed| placed.booking.as_ref()) {
            booking.first_token(after);
        }
    }

    /// The answer is complete, `with_token` if its first token has not been told of. One that is an error did not use the worker's cache
    /// and is booked as aborted.
    pub(super) fn finished(&mut self, status: u16, usage: Option<Usage>, with_token: bool) {
        let took = self.arrived.elapsed();
        (self.code, self.took) = (status, Some(took));
        if let Some(entry) = self.entry.as_mut().filter(|_| with_token) {
            entry.first_token = Some(took);
        }
        self.charge(status, usage);
        let Some(placed) = &mut self.placed else { return };
        let booking = placed.booking.take();
        if !(200..300).contains(&status) {
            return;
        }
        if let Some(booking) = booking {
            booking.finish(usage, with_token.then_some(took));
        }
        if let (Some(usage), Some(count)) = (usage, &self.count) {
            count.compare(&placed.worker, usage.prompt, &self.core.metrics);
        }
        if let (Some(usage), 1) = (usage, placed.attempts()) {
            let (predicted, told) = (placed.decision.overlap, placed.decision.told.is_some());
            self.core.metrics.used(placed.worker.label(), &usage, predicted);
            let answer = Answer { predicted, told, rehearsed: self.rehearsed, reported: usage.cached };
            if !(told && self.late) {
                placed.worker.answered(&answer);
            }
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

    /// What the answer cost goes to the account of the client's key, and is written down.
    fn charge(&mut self, status: u16, usage: Option<Usage>) {
        if let Some(entry) = &mut self.entry {
            entry.usage = usage;
        }
        let (Some(pass), Some(placed), 200..300) = (&self.pass, &self.placed, status) else { return };
        let estimated = Usage { prompt: placed.decision.prompt, cached: None, output: Tokens::ZERO };
        let Usage { prompt, output, .. } = usage.unwrap_or(estimated);
        pass.charge((prompt + output).0);
        self.core.metrics.charged(pass.name(), prompt, output);
    }

    /// The worker's answer, or its failure, is all that can be written down of it now.
    fn write_down(&mut self) {
        let Some(mut entry) = self.entry.take() else { return };
        entry.status = self.code;
        entry.took = self.took.unwrap_or_else(|| self.arrived.elapsed());
        if let Some(placed @ Placed { decision, worker, .. }) = &self.placed {
            entry.worker = Some(Arc::clone(&worker.name));
            entry.policy = decision.policy;
            entry.reason = reason(decision, placed.attempts());
            entry.attempts = placed.attempts();
            entry.prompt = decision.prompt;
            entry.overlap = decision.overlap;
            entry.fate = decision.fate;
        }
        let entry = Arc::new(entry);
        if let Some(trace) = self.trace.take()
            && !trace.end(Arc::clone(&entry))
        {
            self.core.metrics.line_dropped("traces");
        }
        if self.journal.wants_entries() {
            self.journal.enter(entry);
        }
    }

    /// Says in headers where the request went and why.
    pub(super) fn explain(&self, headers: &mut HeaderMap) {
        let Some(placed @ Placed { decision, worker, .. }) = &self.placed else { return };
        let attempts = placed.attempts();
        headers.insert(headers::WORKER, worker.header.clone());
        headers.insert(headers::POLICY, HeaderValue::from_static(decision.policy));
        headers.insert(headers::PROMPT_TOKENS, decision.prompt.0.into());
        if attempts == 1 {
            headers.insert(headers::ATTEMPTS, HeaderValue::from_static("1"));
            headers.insert(headers::OVERLAP_TOKENS, decision.overlap.0.into());
        } else {
            headers.insert(headers::ATTEMPTS, attempts.into());
        }
        headers.insert(headers::REASON, HeaderValue::from_static(reason(decision, attempts)));
    }
}

fn reason(decision: &Decision, attempts: usize) -> &'static str {
    if attempts == 1 { decision.reason.as_str() } else { "fallback" }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = *self.took.get_or_insert_with(|| self.arrived.elapsed());
        let placed = self.placed.as_ref();
        self.core.metrics.ended(&Ended {
            worker: placed.map(|placed| placed.worker.label()),
            policy: placed.map_or("none", |placed| placed.decision.policy),
            code: self.code,
            took,
        });
        if let Some(pass) = &self.pass {
            self.core.metrics.asked_with(pass.name(), self.code);
        }
        self.write_down();
    }
}
