//! Consistent hashing with bounded loads: KubeAI's `PrefixHash`, HAProxy's `hash-balance-factor`.
//!
//! ```text
//! from the hash of the first 100 characters on around the ring: the first with  n + 1 <= ceil(1.25 x (N + 1) / workers)
//! ```
//!
//! N being all requests in flight. Source: Mirrokni, Thorup and Zadimoghaddam 2018; KubeAI's `balance_chwbl.go` (2025) with
//! its defaults: load factor 125 %, 256 points per worker, 100 characters.
//!
//! Where this departs: the prefix is whole blocks, as many as hold 25 tokens (two of 16 tokens, one of 512). The bound is
//! rounded up, as in the paper, so that somebody is always under it. KubeAI does not round: on a nearly idle fleet it
//! finds nobody and takes the first on the ring.

use warmroute_routing::policy::{Candidates, Choice, OptionInfo, Options, Policy};
use warmroute_routing::{Chance, Reason, Request};

use super::prefix::{CHARS_PER_TOKEN, leading};
use super::ring::Ring;

pub(super) const ABOUT: &str = "KubeAI, HAProxy: a hash of the first characters, past workers over 1.25 x the average";
pub(super) const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "factor",
        default: 1.25,
        range: (1.0, 1e6),
        about: "times the average of requests in flight that a worker may have",
    },
    OptionInfo {
        name: "replicas",
        default: 256.0,
        range: (1.0, 10_000.0),
        about: "points of each worker on the ring",
    },
    OptionInfo {
        name: "chars",
        default: 100.0,
        range: (1.0, 1e9),
        about: "characters of the prompt that are hashed, four to a token, rounded up to whole blocks",
    },
];

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    BoundedHash {
        factor: options.get("factor"),
        prefix_tokens: options.get("chars") / CHARS_PER_TOKEN,
        ring: Ring::new(options.count("replicas")),
    }
}

#[derive(Clone)]
struct BoundedHash {
    factor: f64,
    prefix_tokens: f64,
    ring: Ring,
}

impl Policy for BoundedHash {
    fn choose(&mut self, request: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        let all: f64 = among.iter().map(|candidate| f64::from(candidate.in_flight)).sum();
        let bound = (self.factor * (all + 1.0) / among.count() as f64).ceil();
        let key = leading(request, self.prefix_tokens).next_text(b"ring").0;
        let mut around = self.ring.after(key, among);
        let owner = around.next().unwrap_or(among.nth(0));
        let has_room = |in_flight: u32| f64::from(in_flight) + 1.0 <= bound;
        if has_room(owner.in_flight) {
            return Choice { worker: owner.worker, reason: Reason::Hash };
        }
        let next = around.find(|candidate| has_room(candidate.in_flight)).unwrap_or(owner);
        Choice { worker: next.worker, reason: Reason::Spill }
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::{BlockHash, Tokens};
    use warmroute_routing::policy::Candidate;

    use super::super::scene::{Scene, continued, prompt, worker};
    use super::*;

    fn owner(blocks: &[BlockHash]) -> u32 {
        Scene::of("bounded_hash").ask(blocks, &[0, 1, 2, 3].map(worker)).0
    }

    #[test]
    fn a_prefix_has_one_owner_until_that_is_over_the_bound() {
        let blocks = prompt(1, 10);
        let owner = owner(&blocks);
        let with = |in_flight: u32| {
            let busy = [0, 1, 2, 3].map(|id| Candidate { in_flight: 4, ..worker(id) });
            busy.map(|other| if other.worker.0 == owner { Candidate { in_flight, ..other } } else { other })
        };
        let mut scene = Scene::of("bounded_hash");
        // 12 + 5 + 1 requests on four workers: the bound is ceil(1.25 x 4.5) = 6.
        assert_eq!(scene.ask(&blocks, &with(5)), (owner, Reason::Hash));
        let (next, reason) = scene.ask(&blocks, &with(6));
        assert!(next != owner && reason == Reason::Spill, "{next} for {reason:?}");
    }

    #[test]
    fn a_shared_system_prompt_hides_everything_after_it() {
        let shared = prompt(1, 2);
        let owner = owner(&shared);
        for name in 0..50 {
            let chosen =
                Scene::of("bounded_hash").ask(&continued(&shared, 10 + name, 50), &[0, 1, 2, 3].map(worker));
            assert_eq!(chosen, (owner, Reason::Hash));
        }
    }

    #[test]
    fn unread_prompts_do_not_count_as_load() {
        let blocks = prompt(1, 10);
        let owner = owner(&blocks);
        let swamped = [0, 1, 2, 3].map(|id| {
            let queued = if id == owner { Tokens(1_000_000) } else { Tokens(0) };
            Candidate { queued, in_flight: 1, ..worker(id) }
        });
        assert_eq!(Scene::of("bounded_hash").ask(&blocks, &swamped), (owner, Reason::Hash));
    }
}
