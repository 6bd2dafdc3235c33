//! sglang-router and its descendants smg and vllm-router: `cache_aware`.
//!
//! ```text
//! if max n - min n > 64 and max n > 1.5 x min n:  the fewest requests
//! else if m / L > 0.3:                            the longest match in the router's own history
//! else:                                           the smallest history
//! ```
//!
//! Source: `policies/cache_aware.rs` of sglang's model gateway and of vllm-project/router, and smg's documentation, all of
//! 2025-2026. The flags of all three default to 0.3, 64 and 1.5; early sglang-routers had 0.5, 32 and 1.0001. A history
//! holds 2^26 characters per worker.
//!
//! The smallest history is where the heads of those files send a miss, and where earlier versions did. Their newer code
//! sends it to the fewest requests, the first of equals: that is `miss=1`.
//!
//! Where this departs: blocks are matched instead of characters, so a match ends on a whole block. Histories are evicted
//! when they are full, not every 120 s. Of equal matches and histories the first worker is taken, upstream whichever its
//! map yields. Session keys, and smg's modes that read KV events, are left out.

use warmroute_kv::Blocks;
use warmroute_routing::policy::{Candidates, Choice, OptionInfo, Options, Policy};
use warmroute_routing::{Chance, Reason, Request};

use super::choosing::reason;
use super::history::History;
use super::prefix::{CHARS_PER_TOKEN, blocks_for};

pub(super) const ABOUT: &str = "sglang-router, smg, vllm-router: the longest match, unless loads differ by too much";
pub(super) const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "threshold",
        default: 0.3,
        range: (0.0, 1.0),
        about: "share of the prompt that must match",
    },
    OptionInfo {
        name: "abs",
        default: 64.0,
        range: (0.0, 1e6),
        about: "requests by which the busiest worker must exceed the idlest for affinity to be off",
    },
    OptionInfo {
        name: "rel",
        default: 1.5,
        range: (1.0, 1e6),
        about: "times the idlest worker's requests that the busiest must have as well",
    },
    OptionInfo {
        name: "tree_chars",
        default: 67_108_864.0,
        range: (1.0, 1e9),
        about: "characters of prompts remembered per worker",
    },
    OptionInfo {
        name: "miss",
        default: 0.0,
        range: (0.0, 1.0),
        about: "where a miss goes: 0 the smallest history, 1 the fewest requests",
    },
];

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    Sglang {
        threshold: options.get("threshold"),
        abs: options.get("abs"),
        rel: options.get("rel"),
        tree_chars: options.get("tree_chars"),
        miss_to_load: options.get("miss") >= 0.5,
        history: History::default(),
    }
}

#[derive(Clone)]
struct Sglang {
    threshold: f64,
    abs: f64,
    rel: f64,
    tree_chars: f64,
    miss_to_load: bool,
    history: History,
}

impl Sglang {
    /// The switch that turns affinity off for everybody.
    fn imbalanced(&self, among: Candidates<'_>) -> bool {
        let loads = || among.iter().map(|candidate| f64::from(candidate.in_flight));
        let (most, least) = (loads().fold(0.0, f64::max), loads().fold(f64::INFINITY, f64::min));
        most - least > self.abs && most > self.rel * least
    }

    fn decide(&self, request: &Request<'_>, among: Candidates<'_>) -> Choice {
        let shortest = || among.least(|candidate| [f64::from(candidate.in_flight)]).worker;
        if self.imbalanced(among) {
            let worker = shortest();
            let held = among.iter().map(|candidate| self.history.known(candidate.worker, request));
            return Choice { worker, reason: reason(held, self.history.known(worker, request)) };
        }
        let best = among.least(|candidate| [-(self.history.known(candidate.worker, request) as f64)]).worker;
        let matched = request.block.of(self.history.known(best, request));
        if matched as f64 > self.threshold * request.prompt as f64 {
            return Choice { worker: best, reason: Reason::Prefix };
        }
        let smallest = || among.least(|candidate| [self.history.size(candidate.worker) as f64]).worker;
        let worker = if self.miss_to_load { shortest() } else { smallest() };
        Choice { worker, reason: Reason::LeastLoad }
    }
}

impl Policy for Sglang {
    fn choose(&mut self, request: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        self.history.fit(among, Blocks::of(blocks_for(request, self.tree_chars / CHARS_PER_TOKEN)));
        let choice = self.decide(request, among);
        self.history.send(choice.worker, request);
        choice
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::Tokens;
    use warmroute_routing::policy::Candidate;

    use super::super::scene::{Scene, continued, prompt, worker};
    use super::*;

    #[test]
    fn a_prompt_goes_where_its_beginning_went_and_a_new_one_to_the_smallest_history() {
        let mut scene = Scene::of("sglang");
        let desk = prompt(1, 10);
        assert_eq!(scene.ask(&desk, &[worker(0), worker(1)]), (0, Reason::LeastLoad));
        assert_eq!(scene.ask(&prompt(2, 4), &[worker(0), worker(1)]), (1, Reason::LeastLoad));
        assert_eq!(scene.ask(&continued(&desk, 3, 5), &[worker(0), worker(1)]), (0, Reason::Prefix));
    }

    #[test]
    fn it_does_not_look_at_what_workers_really_hold() {
        let warm = Candidate { overlap: Tokens(160), ..worker(1) };
        assert_eq!(Scene::of("sglang").ask(&prompt(1, 10), &[worker(0), warm]).0, 0);
    }

    #[test]
    fn a_large_prefix_of_a_larger_prompt_is_under_the_ratio_and_is_lost() {
        let mut scene = Scene::of("sglang");
        let shared = prompt(1, 200);
        assert_eq!(scene.ask(&shared, &[worker(0), worker(1)]).0, 0);
        let longer = continued(&shared, 2, 800);
        assert_eq!(
            scene.ask(&longer, &[worker(0), worker(1)]),
            (1, Reason::LeastLoad),
            "3,200 tokens are thrown away"
        );
    }

    #[test]
    fn one_hot_prefix_stays_on_one_worker_until_it_is_64_requests_ahead() {
        let mut scene = Scene::of("sglang");
        let hot = prompt(1, 10);
        for in_flight in 0..=64 {
            let busy = Candidate { in_flight, ..worker(0) };
            assert_eq!(scene.ask(&hot, &[busy, worker(1)]).0, 0, "with {in_flight} in flight");
        }
        let busy = Candidate { in_flight: 65, ..worker(0) };
        assert_eq!(scene.ask(&hot, &[busy, worker(1)]), (1, Reason::Spill));
    }

    #[test]
    fn one_busy_worker_turns_affinity_off_for_prompts_that_are_not_its_own() {
        let mut scene = Scene::of("sglang");
        let busy = Candidate { in_flight: 100, ..worker(0) };
        let warm = Candidate { in_flight: 1, ..worker(1) };
        scene.ask(&prompt(1, 20), &[worker(0), worker(1), worker(2)]);
        let desk = prompt(2, 10);
        assert_eq!(scene.ask(&desk, &[worker(0), worker(1), worker(2)]).0, 1);
        assert_eq!(scene.ask(&desk, &[busy, warm, worker(2)]), (2, Reason::Spill));
    }

    #[test]
    fn a_miss_ignores_load_unless_told_otherwise() {
        let workers = [Candidate { in_flight: 40, ..worker(0) }, worker(1)];
        assert_eq!(Scene::of("sglang").ask(&prompt(1, 10), &workers).0, 0);
        assert_eq!(Scene::of("sglang:miss=1").ask(&prompt(1, 10), &workers).0, 1);
    }

    #[test]
    fn paced_misses_that_go_by_load_all_go_to_the_first_worker() {
        let mut scene = Scene::of("sglang:miss=1");
        let chosen = |name| scene.ask(&prompt(name, 10), &[worker(0), worker(1)]).0;
        assert_eq!((0..20).map(chosen).sum::<u32>(), 0);
    }
}
