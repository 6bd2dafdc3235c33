//! From the requests of a run to its report.

use std::time::Duration;

use warmroute_kv::Tokens;
use warmroute_routing::{Decision, Time};

use super::flight::Flight;
use super::recovery::recovery_s;
use super::report::{Fate, RunReport, Spread, Timeline};
use super::scenario::{Change, Slo};
use super::world::World;

/// Slices that a timeline has at most.
const MOST_SLICES: usize = 120;

/// What is counted while a run goes on.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Prompt tokens by what became of them, as the routers told: hit, lost to load, lost to eviction, unseen.
    fates: [u64; 4],
    /// For each worker, for each second: prompt tokens computed.
    prefilled: Vec<Vec<u64>>,
}

impl Ledger {
    /// A gateway has decided.
    pub(super) fn decided(&mut self, decision: &Decision) {
        let fate = &decision.fate;
        let parts = [fate.hit, fate.lost_to_load, fate.lost_to_eviction, fate.unseen];
        for (sum, part) in self.fates.iter_mut().zip(parts) {
            *sum += u64::from(part.0);
        }
    }

    /// A worker has computed prompt tokens.
    pub(super) fn prefilled(&mut self, worker: usize, tokens: u64, now: Time) {
        let second = now.as_secs_f64() as usize;
        if self.prefilled.len() <= worker {
            self.prefilled.resize_with(worker + 1, Vec::new);
        }
        let seconds = &mut self.prefilled[worker];
        if seconds.len() <= second {
            seconds.resize(second + 1, 0);
        }
        seconds[second] += tokens;
    }

    fn fate(&self) -> Fate {
        let all: u64 = self.fates.iter().sum();
        let [hit, lost_to_load, lost_to_eviction, unseen] =
            self.fates.map(|part| ratio(part as f64, all as f64));
        Fate { hit, lost_to_load, lost_to_eviction, unseen }
    }
}

/// Sums up a run that is over.
pub(super) fn report(world: &World<'_>) -> RunReport {
    let (scenario, flights) = (world.scenario, &world.flights);
    let duration_s = flights.iter().filter_map(|flight| flight.ended).max().unwrap_or_default().as_secs_f64();
    let ttft = sorted(flights.iter().filter_map(Flight::ttft_s));
    let good = flights.iter().filter(|flight| is_good(flight, &scenario.slo)).count() as f64;
    let sent = flights.len() as f64;
    let prompt = sum(flights, |flight| flight.ask.prompt);
    let computed: Vec<f64> = world.seats.iter().map(|seat| seat.engine.prefilled as f64).collect();
    let (busiest_over_mean, prefill_cv) = evenness(&computed);
    RunReport {
        workload: world.traffic.name.clone(),
        engine_model: scenario.engine.name(),
        policy: scenario.policy_name.clone(),
        seed: scenario.seed,
        workers: scenario.workers,
        cache_tokens: scenario.cache.0,
        rate: 1.0,
        view: scenario.view.name(),
        gateways: scenario.gateways,
        view_lag_s: scenario.view_lag.as_secs_f64(),
        requests: flights.len(),
        duration_s,
        ttft_s: spread(&ttft),
        e2e_s: spread(&sorted(flights.iter().filter_map(Flight::e2e_s))),
        tpot_s: spread(&sorted(flights.iter().filter_map(Flight::tpot_s))),
        hit_rate: ratio(sum(flights, |flight| flight.cached), prompt),
        oracle_hit_rate: ratio(sum(flights, |flight| flight.oracle), prompt),
        one_lru_hit_rate: ratio(sum(flights, |flight| flight.one_lru), prompt),
        busiest_over_mean,
        prefill_cv,
        recomputed_tokens_per_1000_requests: ratio(
            1e3 * sum(flights, |flight| flight.oracle - flight.cached),
            sent,
        ),
        preemptions: world.seats.iter().map(|seat| seat.engine.preemptions).sum(),
        success_rate: ratio(flights.iter().filter(|flight| flight.answered).count() as f64, sent),
        goodput: ratio(good, duration_s),
        slo_share: ratio(good, sent),
        fate: world.ledger.fate(),
        prediction_bias: ratio(flights.iter().map(prediction_error).sum(), prompt),
        prediction_error: ratio(flights.iter().map(|flight| prediction_error(flight).abs()).sum(), prompt),
        ttft_quantiles_s: (0..=100).map(|percent| nearest_rank(&ttft, percent)).collect(),
        recovery_s: recovery(world),
        timeline: timeline(world, duration_s),
    }
}

fn recovery(world: &World<'_>) -> Option<f64> {
    let at = |change: &Change| change.at.as_secs_f64();
    let changes = &world.scenario.changes;
    recovery_s(&world.flights, changes.first().map(at)?, changes.last().map(at)?)
}

/// Tokens predicted minus tokens found; nothing for a request that never began.
fn prediction_error(flight: &Flight) -> f64 {
    if flight.first.is_some() { flight.predicted.as_f64() - flight.cached.as_f64() } else { 0.0 }
}

fn is_good(flight: &Flight, slo: &Slo) -> bool {
    let within =
        |seconds: Option<f64>, most: Duration| seconds.is_none_or(|seconds| seconds <= most.as_secs_f64());
    flight.answered && within(flight.ttft_s(), slo.ttft) && within(flight.tpot_s(), slo.tpot)
}

fn sum(flights: &[Flight], tokens: impl Fn(&Flight) -> Tokens) -> f64 {
    flights.iter().map(|flight| tokens(flight).as_f64()).sum()
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn sorted(seconds: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut seconds: Vec<f64> = seconds.collect();
    seconds.sort_unstable_by(f64::total_cmp);
    seconds
}

/// The smallest of the sorted values that `percent` of all do not exceed; zero of none.
fn nearest_rank(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn spread(sorted: &[f64]) -> Spread {
    Spread {
        mean: ratio(sorted.iter().sum(), sorted.len() as f64),
        p50: nearest_rank(sorted, 50),
        p90: nearest_rank(sorted, 90),
        p99: nearest_rank(sorted, 99),
    }
}

/// The greatest over the mean, and the standard deviation over the mean.
fn evenness(values: &[f64]) -> (f64, f64) {
    let mean = ratio(values.iter().sum(), values.len() as f64);
    let variance = ratio(values.iter().map(|value| (value - mean).powi(2)).sum(), values.len() as f64);
    let greatest = values.iter().copied().fold(0.0, f64::max);
    (ratio(greatest, mean), ratio(variance.sqrt(), mean))
}

fn timeline(world: &World<'_>, duration_s: f64) -> Timeline {
    let slice_s = (duration_s / MOST_SLICES as f64).ceil().max(1.0);
    let slices = (duration_s / slice_s) as usize + 1;
    let prefilled = world.seats.iter().enumerate().map(|(worker, _)| {
        let seconds = world.ledger.prefilled.get(worker).map_or(&[][..], Vec::as_slice);
        let mut sums = vec![0; slices];
        for (second, tokens) in seconds.iter().enumerate() {
            sums[((second as f64 / slice_s) as usize).min(slices - 1)] += tokens;
        }
        sums
    });
    let mut by_arrival: Vec<Vec<&Flight>> = vec![Vec::new(); slices];
    for flight in &world.flights {
        by_arrival[((flight.arrived.as_secs_f64() / slice_s) as usize).min(slices - 1)].push(flight);
    }
    let share = |tokens: fn(&Flight) -> Tokens| {
        let of_slice = move |flights: &Vec<&Flight>| {
            let total = |tokens: fn(&Flight) -> Tokens| -> f64 {
                flights.iter().map(|flight| tokens(flight).as_f64()).sum()
            };
            ratio(total(tokens), total(|flight| flight.ask.prompt))
        };
        by_arrival.iter().map(of_slice).collect()
    };
    let mean_ttft = |flights: &Vec<&Flight>| {
        let ttft = sorted(flights.iter().filter_map(|flight| flight.ttft_s()));
        spread(&ttft).mean
    };
    Timeline {
        slice_s,
        prefilled: prefilled.collect(),
        hit_rate: share(|flight| flight.cached),
        oracle_hit_rate: share(|flight| flight.oracle),
        ttft_mean_s: by_arrival.iter().map(mean_ttft).collect(),
    }
}
