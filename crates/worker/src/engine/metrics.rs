//! Every metric of the worker, in vLLM's names, so that dashboards, autoscalers and routers made for vLLM read it too.
//!
//! The one place where they are declared. vLLM's names begin `vllm:`; a colon is legal in Prometheus and passes through
//! the encoder. What vLLM has no name for begins `warmroute_worker_`.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use std::sync::atomic::AtomicU64;
use warmroute_kv::KvEvent;

use super::batch::Limits;
use super::step::StepReport;

/// vLLM's buckets, in seconds.
const FIRST_TOKEN_BUCKETS: [f64; 20] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0,
];

/// Why a request ended: `stop`, `length` or `abort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Finished {
    finished_reason: &'static str,
}

/// `stored`, `removed` or `cleared`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Change {
    change: &'static str,
}

/// The metrics of one worker.
pub struct Metrics {
    registry: Registry,
    running: Gauge,
    waiting: Gauge,
    cache_usage: Gauge<f64, AtomicU64>,
    prefix_queries: Counter,
    prefix_hits: Counter,
    prompt_tokens: Counter,
    generation_tokens: Counter,
    preemptions: Counter,
    first_token: Histogram,
    finished: Family<Finished, Counter>,
    kv_changes: Family<Change, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn declare<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// All metrics at zero, labelled with the model's name.
    pub fn new(model: &str, limits: &Limits) -> Self {
        let mut registry =
            Registry::with_labels([("model_name".into(), model.to_owned().into())].into_iter());
        let all = &mut registry;
        let cache = Info::new([
            ("block_size", limits.block_tokens.to_string()),
            ("num_gpu_blocks", limits.capacity.to_string()),
        ]);
        all.register("vllm:cache_config", "Shape of the KV cache", cache);
        Self {
            running: declare(
                all,
                "vllm:num_requests_running",
                "Requests in the running batch",
                Gauge::default(),
            ),
            waiting: declare(all, "vllm:num_requests_waiting", "Requests waiting to run", Gauge::default()),
            cache_usage: declare(
                all,
                "vllm:kv_cache_usage_perc",
                "Share of cache blocks that running requests hold, 0 to 1",
                Gauge::default(),
            ),
            prefix_queries: declare(
                all,
                "vllm:prefix_cache_queries",
                "Prompt tokens looked up in the prefix cache",
                Counter::default(),
            ),
            prefix_hits: declare(
                all,
                "vllm:prefix_cache_hits",
                "Prompt tokens found there",
                Counter::default(),
            ),
            prompt_tokens: declare(all, "vllm:prompt_tokens", "Prompt tokens admitted", Counter::default()),
            generation_tokens: declare(all, "vllm:generation_tokens", "Tokens generated", Counter::default()),
            preemptions: declare(
                all,
                "vllm:num_preemptions",
                "Requests that lost their blocks to older ones",
                Counter::default(),
            ),
            first_token: declare(
                all,
                "vllm:time_to_first_token_seconds",
                "From the request's arrival to its first token",
                Histogram::new(FIRST_TOKEN_BUCKETS),
            ),
            finished: declare(all, "vllm:request_success", "Requests by how they ended", Family::default()),
            kv_changes: declare(
                all,
                "warmroute_worker_kv_blocks",
                "Cache blocks stored and removed, and clears",
                Family::default(),
            ),
            registry,
        }
    }

    pub(super) fn observe_step(&self, report: &StepReport) {
        for (prompt, cached) in &report.admitted {
            self.observe_prompt(*prompt as u64, *cached as u64);
        }
        self.observe_answers(report.updates.len() as u64);
        self.observe_preemptions(report.preempted as u64);
    }

    pub(crate) fn observe_prompt(&self, tokens: u64, cached: u64) {
        self.prompt_tokens.inc_by(tokens);
        self.prefix_queries.inc_by(tokens);
        self.prefix_hits.inc_by(cached);
    }

    pub(crate) fn observe_answers(&self, tokens: u64) {
        self.generation_tokens.inc_by(tokens);
    }

    pub(crate) fn observe_preemptions(&self, requests: u64) {
        self.preemptions.inc_by(requests);
    }

    pub(crate) fn observe_events(&self, events: &[KvEvent]) {
        for event in events {
            let (change, blocks) = match event {
                KvEvent::Stored { blocks, .. } => ("stored", blocks.len()),
                KvEvent::Removed { blocks } => ("removed", blocks.len()),
                KvEvent::Cleared => ("cleared", 1),
            };
            self.kv_changes.get_or_create(&Change { change }).inc_by(blocks as u64);
        }
    }

    pub(crate) fn observe_batch(&self, running: usize, cache_usage: f64) {
        self.running.set(running.try_into().unwrap_or(i64::MAX));
        self.cache_usage.set(cache_usage);
    }

    pub(crate) fn observe_first_token(&self, seconds: f64) {
        self.first_token.observe(seconds);
    }

    pub(crate) fn observe_end(&self, finished_reason: &'static str) {
        self.finished.get_or_create(&Finished { finished_reason }).inc();
    }

    /// The exposition, in OpenMetrics text, given how many requests are in flight now. Waiting is what does not run: counted
    /// here rather than by the engine, so that requests which arrive during a long step are seen.
    pub fn expose(&self, in_flight: usize) -> String {
        let in_flight = i64::try_from(in_flight).unwrap_or(i64::MAX);
        self.waiting.set((in_flight - self.running.get()).max(0));
        let mut exposition = String::new();
        text::encode(&mut exposition, &self.registry).expect("writing to a string cannot fail");
        exposition
    }
}

/// The content type of [`Metrics::expose`].
pub const EXPOSITION_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use warmroute_kv::Blocks;

    use super::*;

    #[test]
    fn the_exposition_has_vllms_names() {
        let limits = Limits { block_tokens: 16, capacity: Blocks(64), prefill_tokens: 1, max_running: 1 };
        let metrics = Metrics::new("tiny", &limits);
        metrics.observe_step(&StepReport { admitted: vec![(100, 64)], ..StepReport::default() });
        metrics.observe_batch(1, 0.25);
        metrics.observe_first_token(0.3);
        metrics.observe_end("stop");
        metrics.observe_events(&[KvEvent::Cleared]);
        let exposition = metrics.expose(3);
        let model = "model_name=\"tiny\"";
        for line in [
            format!("vllm:cache_config_info{{{model},block_size=\"16\",num_gpu_blocks=\"64\"}} 1"),
            format!("vllm:num_requests_running{{{model}}} 1"),
            format!("vllm:num_requests_waiting{{{model}}} 2"),
            format!("vllm:kv_cache_usage_perc{{{model}}} 0.25"),
            format!("vllm:prefix_cache_queries_total{{{model}}} 100"),
            format!("vllm:prefix_cache_hits_total{{{model}}} 64"),
            format!("vllm:prompt_tokens_total{{{model}}} 100"),
            format!("vllm:generation_tokens_total{{{model}}} 0"),
            format!("vllm:time_to_first_token_seconds_count{{{model}}} 1"),
            format!("vllm:request_success_total{{{model},finished_reason=\"stop\"}} 1"),
            format!("warmroute_worker_kv_blocks_total{{{model},change=\"cleared\"}} 1"),
        ] {
            assert!(exposition.lines().any(|there| there == line), "no line {line} in\n{exposition}");
        }
    }
}
