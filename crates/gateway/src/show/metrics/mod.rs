//! Every metric, declared once with its help text; `/metrics` and the reference page are made from this registry.
//!
//! Labels are bounded: policies are configured, status codes are three digits, reasons and causes are enums, and of workers only those are
//! named that belong to the fleet.
//! Buckets are those of OpenTelemetry's GenAI conventions, so that panels made for other gateways fit.

mod counters;
mod gone;
mod labels;
mod workers;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use warmroute_kv::Tokens;
use warmroute_routing::{Decision, Fate};

use self::counters::Counters;
pub(crate) use self::gone::gone;
use self::labels::{
    BuildLabel, CauseLabel, DecisionLabels, KeyLabels, KeyTokenLabels, LogLabel, ModelCauseLabels,
    RequestLabels, WorkerLabel, WorkerSideLabels, WorkerStateLabels, WorkerWhatLabels,
};

/// The media type of [`Metrics::encode`]'s text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The `worker` label of requests that never reached one.
const NO_WORKER: &str = "none";

/// First tokens take from a warm cache's millisecond to a crowded engine's minute.
const TTFT_BUCKETS: [f64; 18] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0];

/// From a block to the longest prompts; 0 is for those that were exact.
const ERROR_BUCKETS: [f64; 9] = [0.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0];

/// On which side of what was reported a prediction lies.
const SIDES: [&str; 3] = ["under", "exact", "over"];

/// The code under which requests are counted whose client went away before the answer was complete, as nginx has it.
pub(crate) const CLIENT_GONE: u16 = 499;

/// How one request ended, as far as metrics are concerned.
pub(crate) struct Ended<'a> {
    /// Who answered; `None` if nobody was asked.
    pub worker: Option<&'a Arc<str>>,
    /// Who chose.
    pub policy: &'static str,
    /// The status the client got, or what became of an answer already begun: 499 client gone, 502 worker lost, 504 stalled.
    pub code: u16,
    /// From the request's arrival to the end of its answer.
    pub took: Duration,
}

/// Declares the metrics: for each its help text, name, kind and initial state. Counters get `_total` when they are written.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ty = $new:expr;)+) => {
        /// The gateway's metrics and the registry they are in.
        pub(crate) struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ $name: $kind,)+
        }

        /// Name, help and type of each, for the reference page.
        #[cfg(test)]
        const DECLARED: &[(&str, &str, &str)] =
            &[$((stringify!($name), concat!($($help),+), stringify!($kind)),)+];

        impl Metrics {
            /// All metrics, registered, at zero.
            fn declared() -> Self {
                let mut registry = Registry::with_prefix("warmroute");
                $(
                    let $name: $kind = $new;
                    registry.register(stringify!($name), concat!($($help),+).trim_start(), $name.clone());
                )+
                Self { registry, $($name),+ }
            }
        }
    };
}

metrics! {
    /// Completion requests by the worker that answered, the policy and the status; 499 is a client that left, 502 and 504
    /// include workers lost or stalled in the middle of an answer; the worker `gone` is any that was on its way out
    requests: Family<RequestLabels, Counter> = Family::default();
    /// From a completion request's arrival to the last byte of its answer
    request_duration_seconds: Histogram = Histogram::new(exponential_buckets(0.01, 2.0, 14));
    /// From a streaming request's arrival to its first body byte
    ttft_seconds: Histogram = Histogram::new(TTFT_BUCKETS);
    /// The gateway's own work on a request before it is sent on: looking, hashing, deciding
    overhead_seconds: Histogram = Histogram::new(exponential_buckets(5e-6, 2.0, 14));
    /// Routing decisions by policy and reason
    routing_decisions: Family<DecisionLabels, Counter> = Family::default();
    /// Prompt tokens of all decisions, as estimated then, by what the decision made of them: hit where the chosen worker is
    /// believed to hold them, lost_to_load where another worker holds them and the request was sent elsewhere all the same,
    /// lost_to_eviction where they were sent lately and nobody holds them any more, else unseen; many lost_to_eviction want
    /// more cache, many lost_to_load more workers
    routed_prompt_tokens: Counters<4> =
        Counters::by("fate", ["hit", "lost_to_load", "lost_to_eviction", "unseen"]);
    /// Prompt tokens of answers whose worker reported cached tokens: all of them, those the router predicted to be cached, and
    /// those the worker reported; if predicted and reported part, the index is wrong; if all stays 0, workers do not report
    /// (vLLM: --enable-prompt-tokens-details, streams: stream_options.include_usage)
    prompt_tokens: Counters<3> = Counters::by("cached", ["all", "predicted", "reported"]);
    /// Prompt tokens by which the prediction of a decision missed what its worker then reported cached, by side: exact (none), over
    /// (predicted more) or under (predicted less); docs/kv-events.md
    prediction_error_tokens: Family<WorkerSideLabels, Histogram, fn() -> Histogram> =
        Family::new_with_constructor(|| Histogram::new(ERROR_BUCKETS));
    /// 1 for what is thought of predictions for a worker: unknown (too few answers), unreported (it does not say what it had cached),
    /// calibrated, or misleading (they part from its reports for long; its events are not used then)
    worker_prediction_state: Family<WorkerStateLabels, Gauge> = Family::default();
    /// The share of tokens, of those predicted or reported cached in some 64 answers, on which prediction and report part
    worker_prediction_gap: Family<WorkerLabel, Gauge<f64, AtomicU64>> = Family::default();
    /// 1 for a worker whose own KV events say what it holds, 0 where a shadow does
    worker_cache_exact: Family<WorkerLabel, Gauge> = Family::default();
    /// 1 while a worker passes its health checks
    worker_up: Family<WorkerLabel, Gauge> = Family::default();
    /// Requests a worker is answering
    worker_in_flight: Family<WorkerLabel, Gauge> = Family::default();
    /// Requests that a worker is answering and whose prompt it may not have read yet: streams until their first token, whole
    /// answers until their end
    worker_unread_prompts: Family<WorkerLabel, Gauge> = Family::default();
    /// Seconds a worker takes to read one prompt token that it has not cached, as learned from the first tokens of streams; a
    /// guess before there are any, brought down by whole answers that come sooner
    worker_prompt_token_seconds: Family<WorkerLabel, Gauge<f64, AtomicU64>> = Family::default();
    /// Tokens that a worker's cache is believed to hold when full: what the worker said of itself, else a guess, corrected by the
    /// cached tokens it reports
    worker_capacity_tokens: Family<WorkerLabel, Gauge> = Family::default();
    /// A worker's circuit: 0 closed, 1 half open (one request at a time tries it), 2 open (it fails and gets requests only if all do)
    worker_circuit_state: Family<WorkerLabel, Gauge> = Family::default();
    /// Requests that a worker is given at once: as set, or as learned from its refusals
    worker_seats: Family<WorkerLabel, Gauge> = Family::default();
    /// Requests that wait for a worker with room
    queue_depth: Gauge = Gauge::default();
    /// Time that requests waited for a worker with room, of those that had to and got it
    queue_wait_seconds: Histogram = Histogram::new(TTFT_BUCKETS);
    /// Requests that no worker had room for and that did not get any, by cause: the queue was full, the deadline, no_worker was left
    queue_rejections: Family<CauseLabel, Counter> = Family::default();
    /// Requests that would have been retried if the budget of retries had not been used up
    retries_refused: Counter = Counter::default();
    /// 1 for how a worker's KV events are heard, where it publishes them: live, silent (nothing came yet), replaying, or stale
    /// (not reachable, or with a gap that could not be filled)
    worker_kv_state: Family<WorkerStateLabels, Gauge> = Family::default();
    /// Blocks that a worker holds by its own KV events
    worker_kv_blocks: Family<WorkerLabel, Gauge> = Family::default();
    /// From the time stamp of a worker's last batch of KV events to its coming; clocks may differ
    worker_kv_lag_seconds: Family<WorkerLabel, Gauge<f64, AtomicU64>> = Family::default();
    /// What came of a worker's KV events since it last came up: batches applied, gaps, replays asked for, restarts of the engine,
    /// unreadable events, and blocks that could not be used: orphans, unknown, missized, beyond (docs/kv-events.md)
    worker_kv_events: Family<WorkerWhatLabels, Gauge> = Family::default();
    /// Requests of models in token mode that were routed by their text all the same, by cause: template or tokenizer refused, media (parts
    /// that are no text), option (of the request, which changes the prompt), prompts (several or none), body, surface (an API whose
    /// prompts workers do not tokenize), worker (none told its tokens), slow (docs/tokens.md)
    token_mode_fallbacks: Family<ModelCauseLabels, Counter> = Family::default();
    /// Prompts that have another number of tokens by the gateway's count than by their worker's: the names of its blocks are not ours,
    /// and nothing is predicted right (docs/tokens.md)
    tokenizer_mismatches: Family<WorkerLabel, Counter> = Family::default();
    /// Other gateways that are heard (docs/operations.md)
    peers_alive: Gauge = Gauge::default();
    /// Lines that other gateways told, signs of life included
    peer_frames_heard: Counter = Counter::default();
    /// Prompts sent by other gateways that were taken in, for workers without KV events
    peer_prompts_heard: Counter = Counter::default();
    /// Words of other gateways on their requests that were told no more when this one came to read them: it is slow, or they are fast
    peer_words_lost: Counter = Counter::default();
    /// Requests moved to another worker before their first byte, by cause
    retries: Family<CauseLabel, Counter> = Family::default();
    /// Clients that left before their answer was complete
    client_disconnects: Counter = Counter::default();
    /// Completion requests by the name of the client's key and the status, where clients must show a key
    key_requests: Family<KeyLabels, Counter> = Family::default();
    /// Tokens of answered requests by the name of the client's key: of prompts and of answers as workers reported them, or of
    /// prompts as estimated where they did not
    key_tokens: Family<KeyTokenLabels, Counter> = Family::default();
    /// Lines of a log that were dropped since its queue was full: the disk is too slow, or log_queue_lines too few
    log_lines_dropped: Family<LogLabel, Counter> = Family::default();
    /// 1 if the settings in force are those that were read last, 0 if those were refused
    config_last_reload_successful: Gauge = Gauge::default();
    /// When settings were last taken in, in seconds since 1970
    config_last_reload_success_timestamp_seconds: Gauge = Gauge::default();
    /// Blocks the router believes to be cached, over all workers
    index_blocks: Gauge = Gauge::default();
    /// About the memory that the index of these blocks takes
    index_bytes: Gauge = Gauge::default();
    /// About the memory that everything takes which the router believes of caches, the index included; router_bytes bounds it
    router_bytes: Gauge = Gauge::default();
    /// 1, with the gateway's version as a label
    build_info: Family<BuildLabel, Gauge> = Family::default();
}

impl Metrics {
    /// All metrics at zero, but for the one that says who writes them.
    pub(crate) fn new() -> Self {
        let metrics = Self::declared();
        metrics.build_info.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        metrics
    }

    /// A request came to its end, whatever that was.
    pub(crate) fn ended(&self, ended: &Ended<'_>) {
        let worker = ended.worker.map_or_else(|| NO_WORKER.into(), Arc::clone);
        self.requests.get_or_create(&RequestLabels { worker, policy: ended.policy, code: ended.code }).inc();
        self.request_duration_seconds.observe(ended.took.as_secs_f64());
        if ended.code == CLIENT_GONE {
            self.client_disconnects.inc();
        }
    }

    /// A decision was made, after this much of the gateway's own work.
    pub(crate) fn decided(&self, decision: &Decision, overhead: Duration) {
        let labels = DecisionLabels { policy: decision.policy, reason: decision.reason.as_str() };
        self.routing_decisions.get_or_create(&labels).inc();
        self.overhead_seconds.observe(overhead.as_secs_f64());
        let Fate { hit, lost_to_load, lost_to_eviction, unseen } = decision.fate;
        self.routed_prompt_tokens.add([hit, lost_to_load, lost_to_eviction, unseen].map(|tokens| tokens.0));
    }

    /// A stream's first byte came.
    pub(crate) fn first_token(&self, after: Duration) {
        self.ttft_seconds.observe(after.as_secs_f64());
    }

    /// A prompt of a model in token mode was routed by its text.
    pub(crate) fn in_text(&self, model: &str, cause: &'static str) {
        self.token_mode_fallbacks.get_or_create(&ModelCauseLabels { model: model.to_owned(), cause }).inc();
    }

    /// A worker counted the tokens of a prompt otherwise than the gateway.
    pub(crate) fn tokens_differ(&self, worker: &Arc<str>) {
        self.tokenizer_mismatches.get_or_create(&WorkerLabel { worker: Arc::clone(worker) }).inc();
    }

    /// So many other gateways are heard.
    pub(crate) fn peers(&self, count: usize) {
        self.peers_alive.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Another gateway told of so many prompts, after so many words that were lost.
    pub(crate) fn peer_told(&self, prompts: usize, lost: u64) {
        self.peer_frames_heard.inc();
        self.peer_prompts_heard.inc_by(prompts as u64);
        self.peer_words_lost.inc_by(lost);
    }

    /// A request was moved to another worker.
    pub(crate) fn retried(&self, cause: &'static str) {
        self.retries.get_or_create(&CauseLabel { cause }).inc();
    }

    /// A request would have been retried.
    pub(crate) fn retry_refused(&self) {
        self.retries_refused.inc();
    }

    /// A request has waited for room, and got it.
    pub(crate) fn waited(&self, time: Duration) {
        self.queue_wait_seconds.observe(time.as_secs_f64());
    }

    /// A request that found no room was turned away.
    pub(crate) fn turned(&self, cause: &'static str) {
        self.queue_rejections.get_or_create(&CauseLabel { cause }).inc();
    }

    /// So many requests wait for room.
    pub(crate) fn waiting(&self, count: usize) {
        self.queue_depth.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A request that showed this key came to its end.
    pub(crate) fn asked_with(&self, key: &Arc<str>, code: u16) {
        self.key_requests.get_or_create(&KeyLabels { key: Arc::clone(key), code }).inc();
    }

    /// A request that showed this key was answered.
    pub(crate) fn charged(&self, key: &Arc<str>, prompt: Tokens, output: Tokens) {
        for (of, tokens) in [("prompt", prompt), ("answer", output)] {
            let labels = KeyTokenLabels { key: Arc::clone(key), of };
            self.key_tokens.get_or_create(&labels).inc_by(u64::from(tokens.0));
        }
    }

    /// A line of this log was dropped.
    pub(crate) fn line_dropped(&self, log: &'static str) {
        self.log_lines_dropped.get_or_create(&LogLabel { log }).inc();
    }

    /// Settings were read, and taken in if that went well.
    pub(crate) fn reloaded(&self, well: bool) {
        self.config_last_reload_successful.set(i64::from(well));
        if well {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            self.config_last_reload_success_timestamp_seconds.set(seconds);
        }
    }

    /// The present size of the index, and of all that the router believes.
    pub(crate) fn index(&self, blocks: usize, bytes: usize, all_bytes: usize) {
        let sizes =
            [(&self.index_blocks, blocks), (&self.index_bytes, bytes), (&self.router_bytes, all_bytes)];
        for (gauge, size) in sizes {
            gauge.set(i64::try_from(size).unwrap_or(i64::MAX));
        }
    }

    /// Everything in the text format of OpenMetrics.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("a String takes any text");
        text
    }
}

#[cfg(test)]
mod tests {
    use warmroute_routing::{BookingId, Reason, Usage, WorkerId, WorkerView};

    use super::*;
    use crate::sources::kv_events::{Hearability, Statement};
    use crate::sources::{CacheView, Circuit, Honesty};

    fn decision() -> Decision {
        let fate =
            Fate { hit: Tokens(5), lost_to_load: Tokens(1), lost_to_eviction: Tokens(2), unseen: Tokens(3) };
        Decision {
            booking: BookingId(0),
            worker: WorkerId(1),
            fallbacks: Vec::new(),
            overlap: fate.hit,
            prompt: Tokens(11),
            fate,
            reason: Reason::Prefix,
            told: None,
            policy: "p",
        }
    }

    fn known() -> WorkerView {
        WorkerView {
            id: WorkerId(1),
            up: true,
            suspected: false,
            seats: Some(8),
            in_flight: 3,
            unread: 2,
            queued: Tokens(40),
            active: Tokens(90),
            context: Tokens(100),
            token_s: 0.000_25,
            capacity: Some(Tokens(1600)),
            fill: 0.5,
            predicted_tokens: 5,
            reported_tokens: 4,
        }
    }

    #[test]
    fn every_metric_has_the_prefix_and_a_help_line() {
        let metrics = Metrics::new();
        let worker: Arc<str> = "w:1".into();
        metrics.ended(&Ended { worker: Some(&worker), policy: "p", code: 200, took: Duration::from_secs(1) });
        metrics.decided(&decision(), Duration::from_micros(20));
        metrics.used(
            &"w:1".into(),
            &Usage { prompt: Tokens(9), cached: Some(Tokens(4)), output: Tokens(1) },
            Tokens(5),
        );
        metrics.worker(&worker, true, Some(&known()));
        metrics
            .kv(&worker, &Statement { state: Hearability::Live, blocks: 8, gaps: 2, ..Statement::default() });
        let view = CacheView { objection: None, exact: true, honesty: Honesty::Calibrated, gap: Some(0.25) };
        metrics.cache_view(&worker, &view);
        metrics.retried("broken");
        metrics.circuit(&worker, Circuit::HalfOpen);
        metrics.waited(Duration::from_millis(3));
        metrics.turned("deadline");
        metrics.waiting(2);
        metrics.index(7, 560, 900);
        metrics.asked_with(&"team".into(), 200);
        metrics.charged(&"team".into(), Tokens(9), Tokens(1));
        metrics.line_dropped("access");
        metrics.reloaded(true);

        let text = metrics.encode();

        let helps = text.lines().filter(|line| line.starts_with("# HELP warmroute_")).count();
        assert_eq!(helps, 41, "{text}");
        for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
            assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{name}");
        }
        for line in [
            "warmroute_requests_total{worker=\"w:1\",policy=\"p\",code=\"200\"} 1",
            "warmroute_routing_decisions_total{policy=\"p\",reason=\"prefix\"} 1",
            "warmroute_routed_prompt_tokens_total{fate=\"hit\"} 5",
            "warmroute_routed_prompt_tokens_total{fate=\"lost_to_load\"} 1",
            "warmroute_routed_prompt_tokens_total{fate=\"lost_to_eviction\"} 2",
            "warmroute_routed_prompt_tokens_total{fate=\"unseen\"} 3",
            "warmroute_prompt_tokens_total{cached=\"predicted\"} 5",
            "warmroute_prediction_error_tokens_bucket{le=\"16.0\",worker=\"w:1\",side=\"over\"} 1",
            "warmroute_prediction_error_tokens_count{worker=\"w:1\",side=\"under\"} 0",
            "warmroute_worker_prediction_state{worker=\"w:1\",state=\"calibrated\"} 1",
            "warmroute_worker_prediction_gap{worker=\"w:1\"} 0.25",
            "warmroute_worker_cache_exact{worker=\"w:1\"} 1",
            "warmroute_worker_in_flight{worker=\"w:1\"} 3",
            "warmroute_worker_unread_prompts{worker=\"w:1\"} 2",
            "warmroute_worker_prompt_token_seconds{worker=\"w:1\"} 0.00025",
            "warmroute_worker_capacity_tokens{worker=\"w:1\"} 1600",
            "warmroute_worker_circuit_state{worker=\"w:1\"} 1",
            "warmroute_worker_seats{worker=\"w:1\"} 8",
            "warmroute_queue_depth 2",
            "warmroute_queue_wait_seconds_count 1",
            "warmroute_queue_rejections_total{cause=\"deadline\"} 1",
            "warmroute_worker_kv_state{worker=\"w:1\",state=\"live\"} 1",
            "warmroute_worker_kv_state{worker=\"w:1\",state=\"stale\"} 0",
            "warmroute_worker_kv_blocks{worker=\"w:1\"} 8",
            "warmroute_worker_kv_events{worker=\"w:1\",what=\"gaps\"} 2",
            "warmroute_index_blocks 7",
            "warmroute_index_bytes 560",
            "warmroute_router_bytes 900",
            "warmroute_build_info{version=",
            "warmroute_key_requests_total{key=\"team\",code=\"200\"} 1",
            "warmroute_key_tokens_total{key=\"team\",of=\"prompt\"} 9",
            "warmroute_log_lines_dropped_total{log=\"access\"} 1",
            "warmroute_config_last_reload_successful 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_reference_page_says_what_is_declared() {
        let mut page = String::from(
            "# Metrics of `warmroute gateway`\n\n<!-- Written from the declarations in crates/gateway/src/show/metrics/mod.rs by \
             `WARMROUTE_UPDATE_DOCS=1 cargo test -p warmroute-gateway --lib reference`. -->\n\n\
             Served at `/metrics` of the gateway and of its admin API, in the text format of OpenMetrics.\n\n\
             | metric | type | |\n|---|---|---|\n",
        );
        for (name, help, kind) in DECLARED {
            let kinds = ["Counter", "Gauge", "Histogram"];
            let kind =
                kinds.into_iter().find(|known| kind.contains(known)).unwrap_or_default().to_lowercase();
            let total = if kind == "counter" { "_total" } else { "" };
            page += &format!("| `warmroute_{name}{total}` | {kind} | {} |\n", help.trim());
        }
        crate::docs::check("metrics.md", &page);
    }

    #[test]
    fn what_is_no_longer_known_of_a_worker_is_not_shown() {
        let metrics = Metrics::new();
        let worker: Arc<str> = "w:1".into();
        metrics.worker(&worker, true, Some(&known()));
        metrics.worker(&worker, false, None);
        let text = metrics.encode();
        let shown: Vec<&str> = text.lines().filter(|line| line.contains("w:1")).collect();
        assert_eq!(
            shown,
            [
                "warmroute_worker_up{worker=\"w:1\"} 0",
                "warmroute_worker_in_flight{worker=\"w:1\"} 0",
                "warmroute_worker_unread_prompts{worker=\"w:1\"} 0",
            ]
        );
    }
}
