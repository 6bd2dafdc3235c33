//! What is shown of each worker.

use std::sync::Arc;

use warmroute_kv::Tokens;
use warmroute_routing::{Usage, WorkerView};

use super::labels::{WorkerLabel, WorkerSideLabels, WorkerStateLabels, WorkerWhatLabels};
use super::{Metrics, SIDES, gone};
use crate::sources::kv_events::{Hearability, Statement};
use crate::sources::{CacheView, Circuit, Honesty};

impl Metrics {
    /// The present state of a worker's circuit.
    pub(crate) fn circuit(&self, name: &Arc<str>, circuit: Circuit) {
        let label = WorkerLabel { worker: Arc::clone(name) };
        let state = match circuit {
            Circuit::Closed => 0,
            Circuit::HalfOpen => 1,
            Circuit::Open => 2,
        };
        self.worker_circuit_state.get_or_create(&label).set(state);
    }

    /// A worker told how much of a prompt it had cached; the router had predicted `predicted`.
    pub(crate) fn used(&self, name: &Arc<str>, usage: &Usage, predicted: Tokens) {
        let Some(reported) = usage.cached else { return };
        // How well somebody's cache was known who is gone tells of nobody's.
        if !Arc::ptr_eq(name, gone()) {
            self.erred(name, predicted, reported);
        }
        self.prompt_tokens.add([usage.prompt, predicted, reported].map(|tokens| tokens.0));
    }

    fn erred(&self, name: &Arc<str>, predicted: Tokens, reported: Tokens) {
        let [under, exact, over] = SIDES;
        let side = match predicted.cmp(&reported) {
            std::cmp::Ordering::Less => under,
            std::cmp::Ordering::Equal => exact,
            std::cmp::Ordering::Greater => over,
        };
        let labels = WorkerSideLabels { worker: Arc::clone(name), side };
        let error = f64::from(predicted.0.abs_diff(reported.0));
        let observed = self.prediction_error_tokens.get(&labels).map(|errors| errors.observe(error));
        if observed.is_none() {
            // All sides begin together, and at zero: a rate of what begins at one is not seen.
            for side in SIDES {
                let labels = WorkerSideLabels { worker: Arc::clone(name), side };
                drop(self.prediction_error_tokens.get_or_create(&labels));
            }
            self.prediction_error_tokens.get_or_create(&labels).observe(error);
        }
    }

    /// The present state of one worker, and what the router knows of it; `None` if that is nothing.
    pub(crate) fn worker(&self, name: &Arc<str>, up: bool, known: Option<&WorkerView>) {
        let label = WorkerLabel { worker: Arc::clone(name) };
        self.worker_up.get_or_create(&label).set(i64::from(up));
        let (in_flight, unread) = known.map_or((0, 0), |view| (view.in_flight, view.unread));
        self.worker_in_flight.get_or_create(&label).set(i64::from(in_flight));
        self.worker_unread_prompts.get_or_create(&label).set(i64::from(unread));
        // What is no longer known is taken back: a stale guess would look like a fact.
        match known.map(|view| view.token_s) {
            Some(seconds) => _ = self.worker_prompt_token_seconds.get_or_create(&label).set(seconds),
            None => _ = self.worker_prompt_token_seconds.remove(&label),
        }
        match known.and_then(|view| view.capacity) {
            Some(tokens) => _ = self.worker_capacity_tokens.get_or_create(&label).set(i64::from(tokens.0)),
            None => _ = self.worker_capacity_tokens.remove(&label),
        }
        match known.and_then(|view| view.seats) {
            Some(seats) => _ = self.worker_seats.get_or_create(&label).set(i64::from(seats)),
            None => _ = self.worker_seats.remove(&label),
        }
    }

    /// How far a worker's cache is known.
    pub(crate) fn cache_view(&self, name: &Arc<str>, view: &CacheView) {
        for state in Honesty::ALL {
            let labels = WorkerStateLabels { worker: Arc::clone(name), state: state.name() };
            self.worker_prediction_state.get_or_create(&labels).set(i64::from(state == view.honesty));
        }
        let label = WorkerLabel { worker: Arc::clone(name) };
        self.worker_cache_exact.get_or_create(&label).set(i64::from(view.exact));
        match view.gap {
            Some(gap) => _ = self.worker_prediction_gap.get_or_create(&label).set(gap),
            None => _ = self.worker_prediction_gap.remove(&label),
        }
    }

    /// What a worker's KV events told so far.
    pub(crate) fn kv(&self, name: &Arc<str>, told: &Statement) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for state in Hearability::ALL {
            let labels = WorkerStateLabels { worker: Arc::clone(name), state: state.name() };
            self.worker_kv_state.get_or_create(&labels).set(i64::from(state == told.state));
        }
        let label = WorkerLabel { worker: Arc::clone(name) };
        self.worker_kv_blocks.get_or_create(&label).set(i64::from(told.blocks));
        self.worker_kv_lag_seconds.get_or_create(&label).set(told.lag_micros as f64 / 1e6);
        for (what, count) in told.counts() {
            let labels = WorkerWhatLabels { worker: Arc::clone(name), what };
            self.worker_kv_events.get_or_create(&labels).set(number(count));
        }
    }
}
