//! What is shown of workers that were removed: nothing, or a fleet that comes and goes would fill every scraper.
//!
//! What ends while its worker is on its way out is counted under one name for all of them, or the last requests would bring back what was
//! just removed. No count is handed on: added to another series at once, it would look like as many requests in that moment.

use std::sync::{Arc, LazyLock};

use warmroute_routing::policy::POLICIES;

use super::labels::{RequestLabels, WorkerLabel, WorkerSideLabels, WorkerStateLabels, WorkerWhatLabels};
use super::{Metrics, SIDES};
use crate::sources::Honesty;
use crate::sources::kv_events::{Hearability, Statement};

static GONE: LazyLock<Arc<str>> = LazyLock::new(|| "gone".into());

/// The `worker` label of all that were removed, and of what those still do that are about to be.
pub(crate) fn gone() -> &'static Arc<str> {
    &GONE
}

/// All codes that a status can be.
const CODES: std::ops::Range<u16> = 100..1_000;

impl Metrics {
    /// A worker has been removed: it is shown no more.
    pub(crate) fn forget(&self, name: &Arc<str>) {
        let label = WorkerLabel { worker: Arc::clone(name) };
        for gauge in [
            &self.worker_up,
            &self.worker_in_flight,
            &self.worker_unread_prompts,
            &self.worker_capacity_tokens,
            &self.worker_circuit_state,
            &self.worker_seats,
        ] {
            gauge.remove(&label);
        }
        self.worker_prompt_token_seconds.remove(&label);
        for side in SIDES {
            self.prediction_error_tokens.remove(&WorkerSideLabels { worker: Arc::clone(name), side });
        }
        self.tokenizer_mismatches.remove(&label);
        self.forget_requests(name);
        self.forget_kv(name);
        self.forget_cache_view(name);
    }

    /// There is no way to ask a family for its labels, so all that they can be are tried: a millisecond for each removal.
    fn forget_requests(&self, name: &Arc<str>) {
        for (policy, code) in POLICIES.iter().flat_map(|policy| CODES.map(|code| (policy.name, code))) {
            self.requests.remove(&RequestLabels { worker: Arc::clone(name), policy, code });
        }
    }

    fn forget_cache_view(&self, name: &Arc<str>) {
        for state in Honesty::ALL {
            let labels = WorkerStateLabels { worker: Arc::clone(name), state: state.name() };
            self.worker_prediction_state.remove(&labels);
        }
        let label = WorkerLabel { worker: Arc::clone(name) };
        self.worker_cache_exact.remove(&label);
        self.worker_prediction_gap.remove(&label);
    }

    fn forget_kv(&self, name: &Arc<str>) {
        for state in Hearability::ALL {
            self.worker_kv_state.remove(&WorkerStateLabels { worker: Arc::clone(name), state: state.name() });
        }
        let label = WorkerLabel { worker: Arc::clone(name) };
        self.worker_kv_blocks.remove(&label);
        self.worker_kv_lag_seconds.remove(&label);
        for (what, _) in Statement::default().counts() {
            self.worker_kv_events.remove(&WorkerWhatLabels { worker: Arc::clone(name), what });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use warmroute_kv::Tokens;
    use warmroute_routing::Usage;

    use super::super::Ended;
    use super::*;

    #[test]
    fn a_worker_that_is_removed_is_named_no_more_and_what_ends_then_is_counted_apart() {
        let metrics = Metrics::new();
        let worker: Arc<str> = "w:1".into();
        for name in [&worker, &worker, gone()] {
            let took = Duration::from_secs(1);
            metrics.ended(&Ended { worker: Some(name), policy: "cache_aware", code: 200, took });
        }
        metrics.tokens_differ(&worker);
        let usage = Usage { prompt: Tokens(9), cached: Some(Tokens(4)), output: Tokens(1) };
        metrics.used(&worker, &usage, Tokens(5));
        metrics.used(gone(), &usage, Tokens(5));
        metrics.forget(&worker);
        let text = metrics.encode();
        let shown: Vec<&str> = text.lines().filter(|line| line.contains("worker=")).collect();
        assert_eq!(
            shown,
            ["warmroute_requests_total{worker=\"gone\",policy=\"cache_aware\",code=\"200\"} 1"]
        );
        assert!(text.contains("warmroute_prompt_tokens_total{cached=\"predicted\"} 10"), "{text}");
    }
}
