//! Every metric, declared once with its help text; `/metrics` and the reference page are made from this registry.
//!
//! Labels are bounded: workers and policies are configured, status codes are three digits, reasons and causes are enums.
//! Buckets are those of OpenTelemetry's GenAI conventions, so that panels made for other gateways fit.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use warmroute_kv::Tokens;
use warmroute_routing::Usage;

/// The media type of [`Metrics::encode`]'s text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The `worker` label of requests that never reached one.
const NO_WORKER: &str = "none";

/// The code under which requests are counted whose client went away before the answer was complete, as nginx has it.
pub(crate) const CLIENT_GONE: u16 = 499;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    worker: Arc<str>,
    policy: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    policy: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CachedLabel {
    cached: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkerLabel {
    worker: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
}

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

/// The gateway's metrics and the registry they are in.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Histogram,
    ttft: Histogram,
    overhead: Histogram,
    decisions: Family<DecisionLabels, Counter>,
    prompt_tokens: Family<CachedLabel, Counter>,
    worker_up: Family<WorkerLabel, Gauge>,
    worker_in_flight: Family<WorkerLabel, Gauge>,
    retries: Family<CauseLabel, Counter>,
    disconnects: Counter,
    index_blocks: Gauge,
}

impl Metrics {
    /// All metrics, registered, at zero.
    pub(crate) fn new() -> Self {
        let ttft_buckets = [
            0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0,
            60.0,
        ];
        let mut metrics = Self {
            registry: Registry::with_prefix("warmroute"),
            requests: Family::default(),
            durations: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
            ttft: Histogram::new(ttft_buckets),
            overhead: Histogram::new(exponential_buckets(5e-6, 2.0, 14)),
            decisions: Family::default(),
            prompt_tokens: Family::default(),
            worker_up: Family::default(),
            worker_in_flight: Family::default(),
            retries: Family::default(),
            disconnects: Counter::default(),
            index_blocks: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    /// The table of names and help texts.
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "requests",
            "Completion requests by the worker that answered, the policy and the status; 499 is a client that left, 502 and 504 \
             include workers lost or stalled in the middle of an answer",
            self.requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From a completion request's arrival to the last byte of its answer",
            self.durations.clone(),
        );
        registry.register(
            "ttft_seconds",
            "From a streaming request's arrival to its first body byte",
            self.ttft.clone(),
        );
        registry.register(
            "overhead_seconds",
            "The gateway's own work on a request before it is sent on: looking, hashing, deciding",
            self.overhead.clone(),
        );
        registry.register(
            "routing_decisions",
            "Routing decisions by policy and reason",
            self.decisions.clone(),
        );
        registry.register(
            "prompt_tokens",
            "Prompt tokens of answers whose worker reported cached tokens: all of them, those the router predicted to be cached, and \
             those the worker reported; if predicted and reported part, the index is wrong; if all stays 0, workers do not report \
             (vLLM: --enable-prompt-tokens-details, streams: stream_options.include_usage)",
            self.prompt_tokens.clone(),
        );
        registry.register("worker_up", "1 while a worker passes its health checks", self.worker_up.clone());
        registry.register(
            "worker_in_flight",
            "Requests a worker is answering",
            self.worker_in_flight.clone(),
        );
        registry.register(
            "retries",
            "Requests moved to another worker before their first byte, by cause",
            self.retries.clone(),
        );
        registry.register(
            "client_disconnects",
            "Clients that left before their answer was complete",
            self.disconnects.clone(),
        );
        registry.register(
            "index_blocks",
            "Blocks the router believes to be cached, over all workers",
            self.index_blocks.clone(),
        );
        let build: Family<BuildLabel, Gauge> = Family::default();
        build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "1, with the gateway's version as a label", build);
    }

    /// A request came to its end, whatever that was.
    pub(crate) fn ended(&self, ended: &Ended<'_>) {
        let worker = ended.worker.map_or_else(|| NO_WORKER.into(), Arc::clone);
        self.requests.get_or_create(&RequestLabels { worker, policy: ended.policy, code: ended.code }).inc();
        self.durations.observe(ended.took.as_secs_f64());
        if ended.code == CLIENT_GONE {
            self.disconnects.inc();
        }
    }

    /// A decision was made, after this much of the gateway's own work.
    pub(crate) fn decided(&self, policy: &'static str, reason: &'static str, overhead: Duration) {
        self.decisions.get_or_create(&DecisionLabels { policy, reason }).inc();
        self.overhead.observe(overhead.as_secs_f64());
    }

    /// A stream's first byte came.
    pub(crate) fn first_token(&self, after: Duration) {
        self.ttft.observe(after.as_secs_f64());
    }

    /// A request was moved to another worker.
    pub(crate) fn retried(&self, cause: &'static str) {
        self.retries.get_or_create(&CauseLabel { cause }).inc();
    }

    /// A worker told how much of a prompt it had cached; the router had predicted `predicted`.
    pub(crate) fn used(&self, usage: &Usage, predicted: Tokens) {
        let Some(reported) = usage.cached else { return };
        for (cached, tokens) in [("all", usage.prompt), ("predicted", predicted), ("reported", reported)] {
            self.prompt_tokens.get_or_create(&CachedLabel { cached }).inc_by(u64::from(tokens.0));
        }
    }

    /// The present state of one worker.
    pub(crate) fn worker(&self, name: &Arc<str>, up: bool, in_flight: u32) {
        let label = WorkerLabel { worker: Arc::clone(name) };
        self.worker_up.get_or_create(&label).set(i64::from(up));
        self.worker_in_flight.get_or_create(&label).set(i64::from(in_flight));
    }

    /// The present size of the index.
    pub(crate) fn index(&self, blocks: usize) {
        self.index_blocks.set(i64::try_from(blocks).unwrap_or(i64::MAX));
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
    use super::*;

    #[test]
    fn every_metric_has_the_prefix_and_a_help_line() {
        let metrics = Metrics::new();
        let worker: Arc<str> = "w:1".into();
        metrics.ended(&Ended { worker: Some(&worker), policy: "p", code: 200, took: Duration::from_secs(1) });
        metrics.decided("p", "prefix", Duration::from_micros(20));
        metrics.used(&Usage { prompt: Tokens(9), cached: Some(Tokens(4)), output: Tokens(1) }, Tokens(5));
        metrics.worker(&worker, true, 3);
        metrics.retried("broken");

        let text = metrics.encode();

        let helps = text.lines().filter(|line| line.starts_with("# HELP warmroute_")).count();
        assert_eq!(helps, 12, "{text}");
        for line in [
            "warmroute_requests_total{worker=\"w:1\",policy=\"p\",code=\"200\"} 1",
            "warmroute_routing_decisions_total{policy=\"p\",reason=\"prefix\"} 1",
            "warmroute_prompt_tokens_total{cached=\"predicted\"} 5",
            "warmroute_worker_in_flight{worker=\"w:1\"} 3",
            "warmroute_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
