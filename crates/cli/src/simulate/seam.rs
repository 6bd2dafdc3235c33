//! The seam: what the command line takes from parts of the lab that are written elsewhere, under the names they will have.
//!
//! Until they are joined, stand-ins of the same shape are here, and say so in every report. To join, replace the file by
//! ```ignore
//! pub(super) use warmroute_lab::{rivals, traffic::trace};
//! pub(super) use warmroute_lab::traffic::{WORKLOADS, Workload};
//! pub(super) use warmroute_lab::simulate::simulate;
//! ```

use std::fmt;

use warmroute_kv::Tokens;
use warmroute_lab::simulate::Scenario;
use warmroute_lab::simulate::report::{RunReport, Spread, Timeline};
use warmroute_lab::traffic::Traffic;
use warmroute_routing::policy::OptionInfo;

/// A workload as people see it.
pub(super) struct WorkloadInfo {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) options: &'static [OptionInfo],
}

const fn stand_in(name: &'static str) -> WorkloadInfo {
    WorkloadInfo { name, about: "a stand-in without requests", options: &[] }
}

pub(super) static WORKLOADS: &[WorkloadInfo] = &[
    stand_in("conversation"),
    stand_in("agentic"),
    stand_in("b2b"),
    stand_in("hot_prefix"),
    stand_in("zipf"),
    stand_in("uniform"),
    stand_in("chat"),
];

#[derive(Clone, Debug)]
pub(super) struct Workload(String);

/// The fleet a workload is meant for.
pub(super) struct FleetSize {
    pub(super) workers: usize,
    pub(super) cache: Tokens,
}

impl Workload {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let name = text.split_once(':').map_or(text, |(name, _)| name);
        if WORKLOADS.iter().any(|info| info.name == name) {
            return Ok(Self(text.to_owned()));
        }
        let known: Vec<&str> = WORKLOADS.iter().map(|info| info.name).collect();
        Err(format!("there is no workload '{name}'; hint: use one of {}", known.join(", ")))
    }

    pub(super) const fn fleet(&self) -> FleetSize {
        FleetSize { workers: 8, cache: Tokens(307_200) }
    }

    pub(super) fn traffic(&self, _seed: u64) -> Traffic {
        Traffic { name: self.to_string(), block: Tokens(64), sessions: Vec::new() }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

pub(super) mod trace {
    use std::path::Path;
    use std::time::Duration;

    use warmroute_kv::Tokens;
    use warmroute_lab::traffic::Traffic;

    pub(in crate::simulate) struct TraceOptions {
        pub(in crate::simulate) block: Tokens,
        pub(in crate::simulate) spread: Option<Spread>,
    }

    pub(in crate::simulate) struct Spread {
        _step: Duration,
        _seed: u64,
    }

    impl Spread {
        pub(in crate::simulate) const fn mooncake(seed: u64) -> Self {
            Self { _step: Duration::from_secs(3), _seed: seed }
        }
    }

    pub(in crate::simulate) fn read(path: &Path, options: TraceOptions) -> std::io::Result<Traffic> {
        let _ = options.spread;
        std::fs::metadata(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Traffic { name, block: options.block, sessions: Vec::new() })
    }
}

pub(super) mod rivals {
    use warmroute_routing::policy::{BadPolicy, POLICIES, PolicyConfig, PolicyInfo};

    pub(in crate::simulate) static RIVALS: &[PolicyInfo] = &[];

    pub(in crate::simulate) fn parse(text: &str) -> Result<(String, PolicyConfig), BadPolicy> {
        let config: PolicyConfig = text.parse()?;
        Ok((config.to_string(), config))
    }

    pub(in crate::simulate) fn all() -> Vec<String> {
        POLICIES.iter().map(|info| info.name.to_owned()).collect()
    }
}

/// Never fails; the simulator may.
pub(super) fn simulate(
    traffic: &Traffic,
    scenario: &Scenario,
) -> Result<RunReport, std::convert::Infallible> {
    let ttft = match scenario.policy.name() {
        "cache_aware" => 0.5,
        name => 0.5 + name.len() as f64 / 10.0,
    };
    let ttft = ttft * (1.0 + scenario.seed as f64 / 100.0) * 8.0 / scenario.workers as f64;
    let spread = |mean: f64| Spread { mean, p50: mean, p90: 2.0 * mean, p99: 4.0 * mean };
    Ok(RunReport {
        workload: format!("{} (STAND-IN FIGURES)", traffic.name),
        engine_model: scenario.engine.name(),
        policy: scenario.policy_name.clone(),
        seed: scenario.seed,
        workers: scenario.workers,
        cache_tokens: scenario.cache.0,
        rate: 1.0,
        view: scenario.view.name(),
        gateways: scenario.gateways,
        view_lag_s: scenario.view_lag.as_secs_f64(),
        requests: traffic.requests(),
        duration_s: 60.0,
        ttft_s: spread(ttft),
        e2e_s: spread(5.0),
        tpot_s: spread(0.02),
        hit_rate: 0.0,
        oracle_hit_rate: 0.5,
        one_lru_hit_rate: 0.4,
        busiest_over_mean: 1.0,
        prefill_cv: 0.0,
        recomputed_tokens_per_1000_requests: 0.0,
        preemptions: 0,
        success_rate: 1.0,
        goodput: 1.0,
        slo_share: if ttft < scenario.slo.ttft.as_secs_f64() { 1.0 } else { 0.5 },
        fate: Default::default(),
        prediction_bias: 0.0,
        prediction_error: 0.0,
        ttft_quantiles_s: vec![ttft; 101],
        timeline: Timeline::default(),
    })
}
