//! What one simulated run came to. All times are virtual, in seconds; nothing in here was measured on a machine.

use serde::Serialize;

/// One run: one policy, one seed, one fleet. The JSON of `warmroute simulate --json` is a list of these.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// The traffic's name.
    pub workload: String,
    /// The step-time model of the engines.
    pub engine_model: &'static str,
    /// The policy with its options; rivals as `rival:name`.
    pub policy: String,
    /// Seed of the traffic and of the policy's chance.
    pub seed: u64,
    /// Workers at the start.
    pub workers: usize,
    /// Tokens in each worker's cache.
    pub cache_tokens: u32,
    /// Arrivals are this many times as fast as the workload says. The simulator sees traffic that comes faster and not that it
    /// does: whoever sped it up says so here.
    pub rate: f64,
    /// Who speaks for the caches: `exact` or `shadow`.
    pub view: &'static str,
    /// Gateways that share the traffic.
    pub gateways: usize,
    /// How old each gateway's view of what others did is.
    pub view_lag_s: f64,
    /// Requests sent.
    pub requests: usize,
    /// From the first arrival to the last answer.
    pub duration_s: f64,
    /// Time to first token.
    pub ttft_s: Spread,
    /// Time to the last token.
    pub e2e_s: Spread,
    /// Time per output token after the first.
    pub tpot_s: Spread,
    /// Share of prompt tokens that workers did not have to compute.
    pub hit_rate: f64,
    /// What one cache that never forgets would have reached, in order of arrival.
    pub oracle_hit_rate: f64,
    /// What one cache of the whole fleet's size, least recently used out first, would have reached.
    pub one_lru_hit_rate: f64,
    /// Prompt tokens computed on the busiest worker, over the mean.
    pub busiest_over_mean: f64,
    /// Standard deviation over mean of prompt tokens computed per worker.
    pub prefill_cv: f64,
    /// Prompt tokens computed though some worker had held them before, per 1,000 requests.
    pub recomputed_tokens_per_1000_requests: f64,
    /// Times a running request lost its memory and had to begin again.
    pub preemptions: usize,
    /// Requests answered, of those sent.
    pub success_rate: f64,
    /// Requests per second that were answered within the objectives for first and further tokens.
    pub goodput: f64,
    /// The share of requests that were.
    pub slo_share: f64,
    /// Where prompt tokens went, as the first gateway's router saw it when it decided.
    pub fate: Fate,
    /// Prompt tokens predicted as cached minus really cached, over prompt tokens; positive where too much was hoped for.
    pub prediction_bias: f64,
    /// The same with every difference counted as positive.
    pub prediction_error: f64,
    /// Time to first token at 0 %, 1 % .. 100 % of the requests.
    pub ttft_quantiles_s: Vec<f64>,
    /// Seconds from the scenario's last change until 95 % of the hit rate before its first one were reached again; none where
    /// nothing changed in the middle of the run.
    pub recovery_s: Option<f64>,
    /// What happened over time.
    pub timeline: Timeline,
}

/// Mean and nearest-rank percentiles, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Arithmetic mean.
    pub mean: f64,
    /// Half took no longer.
    pub p50: f64,
    /// 90 of 100 took no longer.
    pub p90: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
}

/// Shares of prompt tokens; they add up to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Fate {
    /// The chosen worker held them.
    pub hit: f64,
    /// Another worker held them and was passed over.
    pub lost_to_load: f64,
    /// They were seen lately and no worker holds them any more.
    pub lost_to_eviction: f64,
    /// Nobody had seen them.
    pub unseen: f64,
}

/// Equal slices of virtual time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Timeline {
    /// Length of a slice in seconds.
    pub slice_s: f64,
    /// For each worker, for each slice: prompt tokens computed.
    pub prefilled: Vec<Vec<u64>>,
    /// For each slice, by arrival: share of prompt tokens hit.
    pub hit_rate: Vec<f64>,
    /// For each slice, by arrival: what the infinite cache would have hit.
    pub oracle_hit_rate: Vec<f64>,
    /// For each slice, by arrival: mean time to first token.
    pub ttft_mean_s: Vec<f64>,
}
