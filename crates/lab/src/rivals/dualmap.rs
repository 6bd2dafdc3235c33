//! DualMap (ICLR 2026): two hashes of the prefix name two workers.
//!
//! ```text
//! estimated TTFT = wait + u x seconds per token
//! the warmer of the two while its estimate is within the objective (5 s), else the faster
//! ```
//!
//! Equal prefixes meet again on at most two workers, and a hot one has somewhere to go. Each hash looks into a consistent
//! ring; the second skips the first one's worker. Equally warm workers are told apart by their estimates.
//!
//! Where this departs: how long the hashed prefix is, is a setting of ours, and so are the objective's 5 s. Only the choice
//! at arrival is reproduced, nothing that moves requests or keys afterwards.

use warmroute_routing::policy::{Candidate, Candidates, Choice, OptionInfo, Options, Policy};
use warmroute_routing::{Chance, Reason, Request};

use super::prefix::leading;
use super::ring::Ring;

pub(super) const ABOUT: &str = "DualMap: of two workers by hash the warmer, or the faster where that is too slow";
pub(super) const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "slo",
        default: 5.0,
        range: (0.0, 1e6),
        about: "seconds to the first token that the warmer worker may take",
    },
    OptionInfo {
        name: "prefix_tokens",
        default: 1_024.0,
        range: (1.0, 1e9),
        about: "leading prompt tokens that are hashed, rounded up to whole blocks",
    },
];

/// Points of each worker on the ring: shares within a few percent of even.
const REPLICAS: usize = 256;

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    DualMap {
        slo_s: options.get("slo"),
        prefix_tokens: options.get("prefix_tokens"),
        ring: Ring::new(REPLICAS),
    }
}

#[derive(Clone)]
struct DualMap {
    slo_s: f64,
    prefix_tokens: f64,
    ring: Ring,
}

fn estimate_s(candidate: &Candidate) -> f64 {
    candidate.wait_s + candidate.uncached.as_f64() * candidate.token_s
}

impl DualMap {
    /// The two workers that the prefix may go to: the same one twice where there is no other.
    fn pair<'a>(&mut self, request: &Request<'_>, among: Candidates<'a>) -> [&'a Candidate; 2] {
        let name = leading(request, self.prefix_tokens);
        let [first, second] = [b"one", b"two"].map(|salt| name.next_text(salt).0);
        let one = self.ring.after(first, among).next().unwrap_or(among.nth(0));
        let other = self.ring.after(second, among).find(|other| other.worker != one.worker);
        [one, other.unwrap_or(one)]
    }
}

impl Policy for DualMap {
    fn choose(&mut self, request: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        let [one, other] = self.pair(request, among);
        let faster = if estimate_s(other) < estimate_s(one) { other } else { one };
        let warmer = match one.overlap.cmp(&other.overlap) {
            std::cmp::Ordering::Greater => one,
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Equal => faster,
        };
        let chosen = if estimate_s(warmer) <= self.slo_s { warmer } else { faster };
        let reason = match chosen.overlap {
            _ if one.overlap == other.overlap => Reason::Hash,
            overlap if overlap == warmer.overlap => Reason::Prefix,
            _ => Reason::Spill,
        };
        Choice { worker: chosen.worker, reason }
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::Tokens;

    use super::super::scene::{Scene, continued, prompt, worker};
    use super::*;

    /// Which two of four workers the prompt may go to, the first choice of an idle fleet first.
    fn pair(scene: &mut Scene, blocks: &[warmroute_kv::BlockHash]) -> [usize; 2] {
        let idle = [0, 1, 2, 3].map(worker);
        let first = scene.ask(blocks, &idle).0 as usize;
        let mut busy = idle;
        busy[first].wait_s = 60.0;
        [first, scene.ask(blocks, &busy).0 as usize]
    }

    #[test]
    fn the_warm_one_of_the_two_is_taken_while_it_is_within_the_objective() {
        let mut scene = Scene::of("dualmap");
        let blocks = prompt(1, 100);
        let [one, other] = pair(&mut scene, &blocks);
        let mut workers = [0, 1, 2, 3].map(worker);
        workers[other] = Candidate { overlap: Tokens(1_600), wait_s: 4.9, ..workers[other] };
        assert_eq!(scene.ask(&blocks, &workers), (other as u32, Reason::Prefix));
        workers[other].wait_s = 5.1;
        assert_eq!(scene.ask(&blocks, &workers), (one as u32, Reason::Spill));
        workers[one].wait_s = 9.0;
        assert_eq!(scene.ask(&blocks, &workers), (other as u32, Reason::Prefix), "both are late: the faster");
    }

    #[test]
    fn a_hot_prefix_has_two_workers_and_no_more_while_others_idle() {
        let mut scene = Scene::of("dualmap");
        let shared = prompt(1, 64);
        let [one, other] = pair(&mut scene, &shared);
        let mut workers = [0, 1, 2, 3].map(worker);
        workers[one].wait_s = 100.0;
        workers[other].wait_s = 100.0;
        for name in 0..50 {
            let chosen = scene.ask(&continued(&shared, 100 + name, 10), &workers).0 as usize;
            assert!(chosen == one || chosen == other, "worker {chosen} was idle and not of the pair");
        }
    }

    #[test]
    fn a_holder_outside_the_pair_is_never_found() {
        let mut scene = Scene::of("dualmap");
        let blocks = prompt(1, 100);
        let pair = pair(&mut scene, &blocks);
        let mut workers = [0, 1, 2, 3].map(worker);
        let outside = (0..4).find(|id| !pair.contains(id)).unwrap();
        workers[outside].overlap = Tokens(1_600);
        assert_eq!(scene.ask(&blocks, &workers), (pair[0] as u32, Reason::Hash));
    }
}
