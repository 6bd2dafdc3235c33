//! Preble's E2, exploitation and exploration (ICLR 2025).
//!
//! ```text
//! if m* > L - m*:  exploit: of those that hold m*, the least load
//! else:            explore: the least  load + eviction cost + u
//! load             = uncached tokens sent within 3 minutes
//! eviction cost    = tokens that must go x the share of prompt tokens that hit there within 3 minutes
//! ```
//!
//! all times the seconds a worker needs per token. Source: Srivatsa et al., *Preble: Efficient Distributed Prompt
//! Scheduling for LLM Serving*, and its code, of which the window of 3 minutes is. Equal costs are drawn.
//!
//! Where this departs: upstream adds decode time to the load, which candidates do not tell. It prices the very tree nodes
//! that would be evicted, each by its own use, from a cache taken for full; here the worker's share of hits prices what
//! does not fit. It also shifts load afterwards, from workers with 1.5 times the least load: a rough equivalent is
//! `rebalance=1.5`, with which a prompt explores if its holder has that many times the least load. That is off unless
//! asked for, since E2 is the rule without it. Preble's copies of hot prefixes are left out.

use std::collections::{BTreeMap, VecDeque};

use warmroute_routing::policy::{Candidate, Candidates, Choice, OptionInfo, Options, Policy};
use warmroute_routing::{Chance, Request, Time, WorkerId};

use super::choosing::{any_least, reason};

pub(super) const ABOUT: &str = "Preble's E2: the holder of more than half, else the least windowed load";
pub(super) const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "window",
        default: 180.0,
        range: (1.0, 1e6),
        about: "seconds for which a request counts as load",
    },
    OptionInfo {
        name: "rebalance",
        default: 0.0,
        range: (0.0, 1e6),
        about: "times the least load from which a holder is passed over; 0 is never, Preble's code has 1.5",
    },
];

/// Slices of a window: the oldest is dropped whole, so a request counts for up to a thirty-sixth less than the window.
const SLICES: u64 = 36;

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    let slice_s = options.get("window") / SLICES as f64;
    Preble { slice_s, rebalance: options.get("rebalance"), windows: BTreeMap::new() }
}

#[derive(Clone)]
struct Preble {
    slice_s: f64,
    rebalance: f64,
    /// One for each candidate.
    windows: BTreeMap<WorkerId, Window>,
}

/// What a worker was sent lately, in slices of time, oldest first; at most [`SLICES`].
#[derive(Clone, Debug, Default)]
struct Window {
    slices: VecDeque<Slice>,
}

#[derive(Clone, Debug)]
struct Slice {
    number: u64,
    computed: f64,
    hit: f64,
}

impl Window {
    fn forget_before(&mut self, number: u64) {
        while self.slices.front().is_some_and(|slice| slice.number < number) {
            self.slices.pop_front();
        }
    }

    fn add(&mut self, number: u64, chosen: &Candidate) {
        if self.slices.back().is_none_or(|slice| slice.number != number) {
            self.slices.push_back(Slice { number, computed: 0.0, hit: 0.0 });
        }
        let slice = self.slices.back_mut().expect("there is one now");
        slice.computed += chosen.uncached.as_f64();
        slice.hit += chosen.overlap.as_f64();
    }

    fn computed(&self) -> f64 {
        self.slices.iter().map(|slice| slice.computed).sum()
    }

    fn hit_share(&self) -> f64 {
        let hit: f64 = self.slices.iter().map(|slice| slice.hit).sum();
        hit / (hit + self.computed()).max(1.0)
    }
}

impl Preble {
    /// Keeps a window for each candidate and for nobody else. Returns the number of the slice it is.
    fn fit(&mut self, among: Candidates<'_>) -> u64 {
        let now = self.slice(among.now());
        let mut before = std::mem::take(&mut self.windows);
        for candidate in among.iter() {
            let mut window = before.remove(&candidate.worker).unwrap_or_default();
            window.forget_before((now + 1).saturating_sub(SLICES));
            self.windows.insert(candidate.worker, window);
        }
        now
    }

    fn slice(&self, now: Time) -> u64 {
        (now.as_secs_f64() / self.slice_s) as u64
    }

    fn load_s(&self, candidate: &Candidate) -> f64 {
        self.windows[&candidate.worker].computed() * candidate.token_s
    }

    fn exploring_s(&self, candidate: &Candidate) -> f64 {
        let uncached = candidate.uncached.as_f64();
        let evicted = match candidate.capacity {
            Some(capacity) => (uncached - (1.0 - candidate.fill) * capacity.as_f64()).max(0.0),
            None => uncached * candidate.fill,
        };
        let wanted_again = evicted * self.windows[&candidate.worker].hit_share();
        self.load_s(candidate) + (wanted_again + uncached) * candidate.token_s
    }

    fn decide<'a>(&self, among: Candidates<'a>, chance: &mut Chance) -> &'a Candidate {
        let best = among.least(|candidate| [-candidate.overlap.as_f64()]);
        if best.overlap > best.uncached {
            let holders = among.iter().filter(|candidate| candidate.overlap == best.overlap);
            let holder = any_least(holders, chance, |candidate| self.load_s(candidate));
            let idlest = among.iter().map(|candidate| self.load_s(candidate)).fold(f64::INFINITY, f64::min);
            if self.rebalance == 0.0 || self.load_s(holder) <= self.rebalance * idlest {
                return holder;
            }
        }
        any_least(among.iter(), chance, |candidate| self.exploring_s(candidate))
    }
}

impl Policy for Preble {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, chance: &mut Chance) -> Choice {
        let now = self.fit(among);
        let chosen = self.decide(among, chance);
        self.windows.get_mut(&chosen.worker).expect("every candidate has one").add(now, chosen);
        let reason = reason(among.iter().map(|candidate| candidate.overlap), chosen.overlap);
        Choice { worker: chosen.worker, reason }
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::Tokens;
    use warmroute_routing::Reason;

    use super::super::scene::{Scene, prompt, worker};
    use super::*;

    fn holding(id: u32, overlap: u32) -> Candidate {
        Candidate { overlap: Tokens(overlap), ..worker(id) }
    }

    #[test]
    fn more_than_half_held_is_exploited_and_half_is_not() {
        let mut scene = Scene::of("preble");
        assert_eq!(scene.ask(&prompt(1, 100), &[holding(0, 816), worker(1)]), (0, Reason::Prefix));
        scene.ask(&prompt(1, 100), &[holding(0, 816), worker(1)]);
        let half = scene.ask(&prompt(2, 100), &[holding(0, 800), worker(1)]);
        assert_eq!(half, (1, Reason::Spill), "twice 784 sent and 800 now against 1,600 now");
    }

    #[test]
    fn a_hot_prefix_stays_with_its_holder_whatever_the_queue_unless_it_is_rebalanced() {
        let busy = Candidate { queued: Tokens(1_000_000), in_flight: 500, ..holding(0, 1_500) };
        let counts = Scene::of("preble").poll(100, &prompt(1, 100), &[busy, worker(1)]);
        assert_eq!(counts, [100, 0]);
        let counts = Scene::of("preble:rebalance=1.5").poll(100, &prompt(1, 100), &[busy, worker(1)]);
        assert!(counts[1] > 0, "{counts:?}");
    }

    #[test]
    fn load_is_forgotten_after_three_minutes() {
        let mut scene = Scene::of("preble");
        let first = scene.ask(&prompt(1, 100), &[worker(0), worker(1)]).0;
        let next = scene.at(170).ask(&prompt(2, 10), &[worker(0), worker(1)]).0;
        assert_eq!(next, 1 - first);
        // Now only the second prompt counts: the worker of the first, larger one is the idle one.
        assert_eq!(scene.at(190).ask(&prompt(3, 10), &[worker(0), worker(1)]).0, first);
    }

    #[test]
    fn a_full_cache_that_is_being_hit_is_spared() {
        let third = |fill: f64| {
            let mut scene = Scene::of("preble");
            let full = |id| Candidate { fill, ..worker(id) };
            // Worker 0 computes 96 tokens and is hit for 1,504; worker 1 computes 112 and is never hit.
            assert_eq!(scene.ask(&prompt(1, 100), &[holding(0, 1_504), worker(1)]).0, 0);
            assert_eq!(scene.ask(&prompt(2, 7), &[worker(0), worker(1)]).0, 1);
            scene.ask(&prompt(3, 100), &[full(0), full(1)])
        };
        assert_eq!(third(0.0), (0, Reason::LeastLoad), "nothing need go: the 16 tokens decide");
        assert_eq!(third(1.0), (1, Reason::LeastLoad), "1,600 tokens must go, and are wanted on worker 0");
    }
}
