//! Times contenders in interleaved rounds, and weighs what they keep.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use serde::Serialize;
use stats_alloc::Region;

use crate::contender::{CONTENDERS, Contender, Make};
use crate::shapes::{Load, Sequence};

/// Passes over all queries in a row: enough that the clock's own steps do not count.
const PASSES: usize = 5;

/// One contender's figures on one load: medians of the rounds. Rates are per second of the process's CPU time.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub contender: &'static str,
    pub load: String,
    pub inserted_blocks_per_s: f64,
    pub lookups_per_s: f64,
    pub lookup_p50_ns: f64,
    pub lookup_p99_ns: f64,
    pub removed_blocks_per_s: f64,
    pub heap_bytes: usize,
    /// Per distinct pair of worker and block.
    pub bytes_per_held_block: f64,
    /// Per block that store events told of, repeated ones included: the denominator of published figures.
    pub bytes_per_told_block: f64,
    /// Spread of the rounds: (largest - smallest) / median.
    pub insert_spread: f64,
    pub lookup_spread: f64,
}

#[derive(Default)]
struct Rounds {
    insert: Vec<f64>,
    lookup: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    remove: Vec<f64>,
}

pub fn figures(load: &Load, rounds: usize) -> Vec<Figures> {
    let removals = load.removals();
    let mut taken: Vec<Rounds> = CONTENDERS.iter().map(|_| Rounds::default()).collect();
    for first in 0..rounds {
        // Everybody goes first in turn: what a contender leaves of the heap is the next one's trouble.
        for turn in 0..CONTENDERS.len() {
            let contender = (first + turn) % CONTENDERS.len();
            let (_, make) = CONTENDERS[contender];
            round(make(load, &removals), load, &removals, &mut taken[contender]);
        }
    }
    let pairs: HashSet<_> =
        load.stores.iter().flat_map(|one| one.blocks.iter().map(|block| (one.worker, *block))).collect();
    let row = |(&(contender, make), taken): (&(&'static str, Make), Rounds)| {
        let heap_bytes = weigh(make(load, &removals));
        Figures {
            contender,
            load: load.name.clone(),
            insert_spread: spread(&taken.insert),
            lookup_spread: spread(&taken.lookup),
            inserted_blocks_per_s: median(taken.insert),
            lookups_per_s: median(taken.lookup),
            lookup_p50_ns: median(taken.p50),
            lookup_p99_ns: median(taken.p99),
            removed_blocks_per_s: median(taken.remove),
            heap_bytes,
            bytes_per_held_block: heap_bytes as f64 / pairs.len() as f64,
            bytes_per_told_block: heap_bytes as f64 / load.told() as f64,
        }
    };
    CONTENDERS.iter().zip(taken).map(row).collect()
}

/// What reading the clock adds to a single lookup's time.
pub fn clock_ns() -> f64 {
    let mut times: Vec<_> = (0..10_000).map(|_| Instant::now().elapsed()).collect();
    percentile_ns(&mut times, 0.5)
}

fn round(mut contender: Box<dyn Contender>, load: &Load, removals: &[Sequence], taken: &mut Rounds) {
    let queries = load.queries.len();
    let removed: usize = removals.iter().map(|one| one.blocks.len()).sum();
    taken.insert.push(load.told() as f64 / seconds(|| contender.insert()));
    contender.ready(PASSES + 1);
    let ask = |contender: &mut Box<dyn Contender>| (0..queries).map(|query| contender.lookup(query)).sum();
    std::hint::black_box::<usize>(ask(&mut contender));
    let all = || {
        for _ in 0..PASSES {
            std::hint::black_box::<usize>(ask(&mut contender));
        }
    };
    taken.lookup.push((PASSES * queries) as f64 / seconds(all));
    contender.ready(1);
    let mut times: Vec<_> = (0..queries)
        .map(|query| {
            let began = Instant::now();
            std::hint::black_box(contender.lookup(query));
            began.elapsed()
        })
        .collect();
    taken.p50.push(percentile_ns(&mut times, 0.5));
    taken.p99.push(percentile_ns(&mut times, 0.99));
    taken.remove.push(removed as f64 / seconds(|| contender.remove()));
    contender.discard();
}

/// What dropping the full index gives back: neither what feeds it nor what it uses in passing counts.
fn weigh(mut contender: Box<dyn Contender>) -> usize {
    contender.insert();
    let region = Region::new(crate::ALLOCATOR);
    contender.discard();
    let change = region.change();
    change.bytes_deallocated - change.bytes_allocated
}

pub fn seconds(act: impl FnOnce()) -> f64 {
    let began = ProcessTime::now();
    act();
    began.elapsed().as_secs_f64()
}

fn percentile_ns(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share).round() as usize].as_nanos() as f64
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn spread(values: &[f64]) -> f64 {
    let (low, high) =
        values.iter().fold((f64::MAX, f64::MIN), |(low, high), one| (low.min(*one), high.max(*one)));
    (high - low) / median(values.to_vec())
}
