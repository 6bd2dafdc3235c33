//! Flags and regimes as a plan: which traffic, on which fleets, under which policies. Whatever cannot be is found here,
//! before the first run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use warmroute_kv::Tokens;
use warmroute_lab::simulate::show::sweep::Axis;
use warmroute_lab::simulate::suite::Regime;
use warmroute_lab::simulate::{Change, EngineModel, Slo, View, change};
use warmroute_lab::traffic::Traffic;

use super::flags::{Flags, FleetFlags, TrafficFlags};
use super::values::{NamedPolicy, Sweep, Timestamps};
use warmroute_lab::traffic::Workload;
use warmroute_lab::traffic::trace::{self, TraceOptions};

/// What is played where neither a workload nor a trace is named.
const USUAL_WORKLOAD: &str = "conversation";
/// The fleet of a trace, unless flags say otherwise: what Mooncake's traces were published for has caches of this order.
const TRACE_FLEET: (usize, u32) = (8, 1_000_000);

/// Everything that will run.
pub(super) struct Plan {
    pub(super) experiments: Vec<Experiment>,
    pub(super) engines: Vec<EngineModel>,
    pub(super) policies: Vec<NamedPolicy>,
    pub(super) seeds: Vec<u64>,
    pub(super) view: View,
    pub(super) slo: Slo,
}

/// Traffic on one fleet, or on several that differ in what is swept.
pub(super) struct Experiment {
    pub(super) regime: Option<&'static Regime>,
    pub(super) source: Source,
    /// What happens, as it was written.
    pub(super) changes: Vec<String>,
    pub(super) fleets: Vec<Fleet>,
}

/// Where requests come from.
#[derive(Clone)]
pub(super) enum Source {
    Workload(Workload),
    Trace { path: PathBuf, timestamps: Timestamps, block: Tokens },
}

/// A fleet, and how fast requests come to it.
#[derive(Clone)]
pub(super) struct Fleet {
    pub(super) workers: usize,
    pub(super) cache: Tokens,
    pub(super) rate: f64,
    pub(super) gateways: usize,
    pub(super) view_lag: Duration,
    pub(super) changes: Vec<Change>,
}

impl Source {
    /// What it is called while it is played.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Workload(workload) => workload.to_string(),
            Self::Trace { path, .. } => {
                path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
            }
        }
    }

    /// The requests of a seed.
    pub(super) fn traffic(&self, seed: u64) -> anyhow::Result<Traffic> {
        match self {
            Self::Workload(workload) => Ok(workload.traffic(seed)),
            Self::Trace { path, timestamps, block } => {
                let spread = (*timestamps == Timestamps::Spread).then(|| trace::Spread::mooncake(seed));
                Ok(trace::read(path, TraceOptions { block: *block, spread })?)
            }
        }
    }

    fn fleet(&self) -> (usize, u32) {
        match self {
            Self::Workload(workload) => (workload.fleet().workers, workload.fleet().cache.0),
            Self::Trace { .. } => TRACE_FLEET,
        }
    }

    fn of_trace(flags: &TrafficFlags) -> Option<Self> {
        flags.trace.clone().map(|path| Self::Trace {
            path,
            timestamps: flags.trace_timestamps,
            block: Tokens(flags.trace_block),
        })
    }
}

impl Plan {
    /// Turns flags into a plan.
    pub(super) fn of(flags: &Flags) -> anyhow::Result<Self> {
        check_sweep(flags)?;
        let mut policies: Vec<NamedPolicy> = Vec::new();
        for policy in flags.runs.policies.iter().flat_map(|several| &several.0) {
            if !policies.iter().any(|known| known.name == policy.name) {
                policies.push(policy.clone());
            }
        }
        let seeds = (0..flags.runs.seeds as u64).map(|place| flags.runs.seed.wrapping_add(place)).collect();
        let experiments: Vec<anyhow::Result<Experiment>> = match &flags.traffic.suite {
            Some(regimes) => regimes.0.iter().map(|regime| of_regime(regime, &flags.traffic)).collect(),
            None => sources(&flags.traffic)?.into_iter().map(|source| of_flags(source, flags)).collect(),
        };
        let plan = Self {
            experiments: experiments.into_iter().collect::<anyhow::Result<_>>()?,
            engines: flags.fleet.engine_model.0.clone(),
            policies,
            seeds,
            view: flags.fleet.view,
            slo: Slo { ttft: flags.runs.slo_ttft_ms, tpot: flags.runs.slo_tpot_ms },
        };
        if flags.output.plot.is_some() {
            ensure!(
                plan.is_one_setting(),
                "--plot draws one workload, fleet and engine model; hint: leave --sweep, or name one workload and one model"
            );
        }
        Ok(plan)
    }

    /// Runs of one experiment.
    pub(super) fn runs(&self, experiment: &Experiment) -> usize {
        experiment.fleets.len() * self.engines.len() * self.policies.len() * self.seeds.len()
    }

    fn is_one_setting(&self) -> bool {
        let fleets: usize = self.experiments.iter().map(|experiment| experiment.fleets.len()).sum();
        fleets == 1 && self.engines.len() == 1
    }
}

/// What is varied cannot be set as well.
fn check_sweep(flags: &Flags) -> anyhow::Result<()> {
    let Some(axis) = flags.fleet.sweep.as_ref().map(Sweep::axis) else { return Ok(()) };
    let is_set = match axis {
        Axis::Workers => flags.fleet.workers.is_some(),
        Axis::CacheTokens => flags.fleet.cache_tokens.is_some(),
        Axis::Rate => flags.traffic.rate.is_some(),
    };
    let name = axis.name();
    ensure!(!is_set, "--sweep {name} varies what --{name} sets; hint: leave one of them");
    Ok(())
}

fn sources(flags: &TrafficFlags) -> anyhow::Result<Vec<Source>> {
    let named = flags.workloads.iter().flat_map(|several| several.0.iter().cloned()).map(Source::Workload);
    let mut sources: Vec<Source> = Source::of_trace(flags).into_iter().chain(named).collect();
    if sources.is_empty() {
        match Workload::parse(USUAL_WORKLOAD) {
            Ok(usual) => sources.push(Source::Workload(usual)),
            Err(error) => bail!("{error}"),
        }
    }
    Ok(sources)
}

fn of_regime(regime: &'static Regime, flags: &TrafficFlags) -> anyhow::Result<Experiment> {
    let workload = match Workload::parse(regime.workload) {
        Ok(workload) => Source::Workload(workload),
        Err(error) => bail!("regime {}: {error}", regime.name),
    };
    let trace = Source::of_trace(flags).filter(|_| regime.trace);
    let changes: Vec<String> = regime.changes.iter().map(|&change| change.to_owned()).collect();
    let (workers, cache) = regime.fleet;
    let fleet = Fleet {
        workers,
        cache: Tokens(cache),
        rate: regime.rate,
        gateways: regime.gateways,
        view_lag: Duration::from_millis(regime.view_lag_ms),
        changes: change::parse_all(&changes, workers)?,
    };
    Ok(Experiment { regime: Some(regime), source: trace.unwrap_or(workload), changes, fleets: vec![fleet] })
}

fn of_flags(source: Source, flags: &Flags) -> anyhow::Result<Experiment> {
    let FleetFlags { workers, cache_tokens, gateways, view_lag_ms, changes, sweep, .. } = &flags.fleet;
    let (usual_workers, usual_cache) = source.fleet();
    let fleet = Fleet {
        workers: workers.unwrap_or(usual_workers),
        cache: Tokens(cache_tokens.unwrap_or(usual_cache)),
        rate: flags.traffic.rate.unwrap_or(1.0),
        gateways: *gateways,
        view_lag: *view_lag_ms,
        changes: Vec::new(),
    };
    let mut fleets = match sweep {
        Some(sweep) => swept(&fleet, sweep),
        None => vec![fleet],
    };
    for fleet in &mut fleets {
        fleet.changes = change::parse_all(changes, fleet.workers)?;
    }
    Ok(Experiment { regime: None, source, changes: changes.clone(), fleets })
}

/// The fleet at each value of the sweep.
fn swept(fleet: &Fleet, sweep: &Sweep) -> Vec<Fleet> {
    match sweep {
        Sweep::Workers(values) => values.iter().map(|&workers| Fleet { workers, ..fleet.clone() }).collect(),
        Sweep::CacheTokens(values) => {
            values.iter().map(|&cache| Fleet { cache: Tokens(cache), ..fleet.clone() }).collect()
        }
        Sweep::Rate(values) => values.iter().map(|&rate| Fleet { rate, ..fleet.clone() }).collect(),
    }
}
