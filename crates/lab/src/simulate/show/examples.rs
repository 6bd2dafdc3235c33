//! Runs made by hand, for the tests of what shows them.

use crate::simulate::report::{Fate, RunReport, Spread, Timeline};

/// A run of the policy: `random` is slow and knows nothing of caches, everything else is faster and hits more.
pub(crate) fn run(policy: &str, seed: u64) -> RunReport {
    let slow = if policy == "random" { 2.0 } else { 1.0 };
    let chance = 1.0 + seed as f64 / 50.0;
    let spread = |mean: f64| Spread { mean, p50: 0.8 * mean, p90: 2.0 * mean, p99: 4.0 * mean };
    let ttft = 0.5 * slow * chance;
    RunReport {
        workload: "agentic".to_owned(),
        engine_model: "h100",
        policy: policy.to_owned(),
        seed,
        workers: 8,
        cache_tokens: 1_000_000,
        rate: 1.0,
        view: "exact",
        gateways: 1,
        view_lag_s: 0.0,
        requests: 1200,
        duration_s: 600.0,
        ttft_s: spread(ttft),
        e2e_s: spread(5.0 * slow),
        tpot_s: spread(0.02 * slow),
        hit_rate: 0.8 / slow,
        oracle_hit_rate: 0.9,
        one_lru_hit_rate: 0.85,
        busiest_over_mean: 1.2,
        prefill_cv: 0.1,
        recomputed_tokens_per_1000_requests: 123_456.7,
        preemptions: 3,
        success_rate: 1.0,
        goodput: 1.9,
        slo_share: 0.995,
        fate: Fate { hit: 0.8 / slow, lost_to_load: 0.05, lost_to_eviction: 0.05, unseen: 0.1 },
        prediction_bias: -0.001,
        prediction_error: 0.01,
        ttft_quantiles_s: (0..=100)
            .map(|percent| ttft * (0.1 + f64::from(percent).powi(2) / 3300.0))
            .collect(),
        recovery_s: None,
        timeline: Timeline {
            slice_s: 60.0,
            prefilled: (0..8).map(|worker| (0..10).map(|slice| 1000 * (worker + slice)).collect()).collect(),
            hit_rate: (0..10).map(|slice| f64::from(slice) * 0.08 / slow).collect(),
            oracle_hit_rate: (0..10).map(|slice| f64::from(slice) * 0.09).collect(),
            ttft_mean_s: vec![ttft; 10],
        },
    }
}

/// The run with something changed.
pub(crate) fn with(policy: &str, change: impl FnOnce(&mut RunReport)) -> RunReport {
    let mut run = run(policy, 1);
    change(&mut run);
    run
}
