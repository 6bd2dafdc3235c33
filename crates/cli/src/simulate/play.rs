//! An experiment played: its runs on several threads, their reports in the order in which tables show them.

use std::sync::Arc;

use warmroute_lab::progress::Progress;
use warmroute_lab::simulate::{RunReport, Scenario, jobs};
use warmroute_lab::traffic::Traffic;

use super::plan::{Experiment, Plan};
use warmroute_lab::simulate::simulate;

/// One run.
struct Run {
    traffic: Arc<Traffic>,
    rate: f64,
    scenario: Scenario,
}

/// Plays all runs of the experiment on at most `threads` threads.
pub(super) fn play(plan: &Plan, experiment: &Experiment, threads: usize) -> anyhow::Result<Vec<RunReport>> {
    let runs = runs(plan, experiment, threads)?;
    let name = experiment.regime.map_or_else(|| experiment.source.name(), |regime| regime.name.to_owned());
    let step = Progress::Shown.step(&name, plan.runs(experiment));
    let play = |run: &Run| -> anyhow::Result<RunReport> {
        let report = simulate(&run.traffic, &run.scenario)?;
        // The simulator sees requests that come faster, and not that they do.
        Ok(RunReport { rate: run.rate, ..report })
    };
    jobs::in_order(&runs, threads, play, || step.advance())
}

/// Every combination, fleets outermost and seeds innermost.
fn runs(plan: &Plan, experiment: &Experiment, threads: usize) -> anyhow::Result<Vec<Run>> {
    let seeds = jobs::in_order(&plan.seeds, threads, |seed| experiment.source.traffic(*seed), || ())?;
    let mut runs = Vec::new();
    for fleet in &experiment.fleets {
        // Prompts are shared between the copies; only their arrivals differ.
        let traffic: Vec<Arc<Traffic>> =
            seeds.iter().map(|traffic| Arc::new(traffic.clone().at_rate(fleet.rate))).collect();
        for engine in &plan.engines {
            for policy in &plan.policies {
                for (seed, traffic) in plan.seeds.iter().zip(&traffic) {
                    let scenario = Scenario {
                        workers: fleet.workers,
                        cache: fleet.cache,
                        engine: *engine,
                        policy_name: policy.name.clone(),
                        policy: policy.config.clone(),
                        seed: *seed,
                        view: plan.view,
                        gateways: fleet.gateways,
                        view_lag: fleet.view_lag,
                        changes: fleet.changes.clone(),
                        slo: plan.slo,
                    };
                    runs.push(Run { traffic: Arc::clone(traffic), rate: fleet.rate, scenario });
                }
            }
        }
    }
    Ok(runs)
}
