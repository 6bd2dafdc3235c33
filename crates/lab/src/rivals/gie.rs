//! The endpoint picker of the Gateway API Inference Extension, as the llm-d charts configure it.
//!
//! ```text
//! most of  3 x matched / total blocks  +  2 x (max q - q) / (max q - min q)  +  2 x (1 - KV use)
//! ```
//!
//! Source: kubernetes-sigs/gateway-api-inference-extension, plugins `prefix-cache-scorer`, `queue-scorer`,
//! `kv-cache-utilization-scorer` and `max-score-picker` (2025), weights 3, 2, 2 of the charts. The match is against the
//! picker's own history: the last 31,250 blocks of 16 tokens sent to each pod, the first 256 blocks of each prompt. Equal
//! queues score 1; equal totals are drawn.
//!
//! Where this departs: `q` upstream is a scraped count of waiting requests; here it is the unread prompt tokens, which
//! the router knows and which are fresh. KV use is the tokens of requests in flight over the capacity, zero where that
//! is unknown. The history forgets whole prompts from their ends, upstream block by block from their beginnings. Sizes
//! are converted where a request's blocks are not of 16 tokens; `autoTune`, which reads them from the engine, is left out.

use warmroute_kv::Blocks;
use warmroute_routing::policy::{Candidate, Candidates, Choice, OptionInfo, Options, Policy};
use warmroute_routing::{Chance, Request};

use super::choosing::{any_least, reason};
use super::history::History;
use super::prefix::blocks_for;

pub(super) const ABOUT: &str = "the endpoint picker's weighted scores: prefix, queue, KV use";
pub(super) const OPTIONS: &[OptionInfo] = &[
    OptionInfo { name: "prefix", default: 3.0, range: (0.0, 1e6), about: "weight of the matched share" },
    OptionInfo { name: "queue", default: 2.0, range: (0.0, 1e6), about: "weight of the short queue" },
    OptionInfo { name: "kv", default: 2.0, range: (0.0, 1e6), about: "weight of the unused KV memory" },
    OptionInfo {
        name: "lru_blocks",
        default: 31_250.0,
        range: (1.0, 1e8),
        about: "blocks of 16 tokens remembered per worker",
    },
    OptionInfo {
        name: "match_blocks",
        default: 256.0,
        range: (1.0, 1e8),
        about: "leading blocks of 16 tokens that are looked at",
    },
];

/// Tokens in upstream's blocks.
const UPSTREAM_BLOCK: f64 = 16.0;

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    EndpointPicker {
        weights: [options.get("prefix"), options.get("queue"), options.get("kv")],
        remembered_tokens: options.get("lru_blocks") * UPSTREAM_BLOCK,
        matched_tokens: options.get("match_blocks") * UPSTREAM_BLOCK,
        history: History::default(),
    }
}

#[derive(Clone)]
struct EndpointPicker {
    weights: [f64; 3],
    remembered_tokens: f64,
    matched_tokens: f64,
    history: History,
}

/// The score of the shorter queue: 1 for the shortest, 0 for the longest, 1 for all where they are equal.
fn queue_score(candidate: &Candidate, among: Candidates<'_>) -> f64 {
    let queues = || among.iter().map(|other| other.queued);
    let (longest, shortest) = (queues().max().unwrap_or_default(), queues().min().unwrap_or_default());
    if longest == shortest {
        return 1.0;
    }
    (longest - candidate.queued).as_f64() / (longest - shortest).as_f64()
}

fn kv_score(candidate: &Candidate) -> f64 {
    let used = |capacity: f64| candidate.active.as_f64() / capacity.max(1.0);
    1.0 - candidate.capacity.map_or(0.0, |capacity| used(capacity.as_f64()).min(1.0))
}

impl Policy for EndpointPicker {
    fn choose(&mut self, request: &Request<'_>, among: Candidates<'_>, chance: &mut Chance) -> Choice {
        self.history.fit(among, Blocks::of(blocks_for(request, self.remembered_tokens)));
        let looked_at = blocks_for(request, self.matched_tokens).min(request.blocks.len());
        let request = Request { blocks: &request.blocks[..looked_at], ..*request };
        let known = |candidate: &Candidate| self.history.known(candidate.worker, &request);
        let chosen = any_least(among.iter(), chance, |candidate| {
            let matched = known(candidate) as f64 / request.blocks.len().max(1) as f64;
            let scores = [matched, queue_score(candidate, among), kv_score(candidate)];
            -self.weights.iter().zip(scores).map(|(weight, score)| weight * score).sum::<f64>()
        });
        let reason = reason(among.iter().map(known), known(chosen));
        self.history.send(chosen.worker, &request);
        Choice { worker: chosen.worker, reason }
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::Tokens;
    use warmroute_routing::Reason;

    use super::super::scene::{Scene, continued, prompt, worker};
    use super::*;

    /// A scene in which worker 0 was sent `blocks`.
    fn warm(blocks: &[warmroute_kv::BlockHash]) -> Scene {
        let mut scene = Scene::of("gie");
        let busy = Candidate { queued: Tokens(1), ..worker(1) };
        assert_eq!(scene.ask(blocks, &[worker(0), busy]).0, 0);
        scene
    }

    #[test]
    fn a_full_match_outweighs_the_longest_queue_and_nothing_more() {
        let desk = prompt(1, 10);
        let queued = Candidate { queued: Tokens(1), ..worker(0) };
        assert_eq!(warm(&desk).ask(&desk, &[queued, worker(1)]), (0, Reason::Prefix), "3 against 2");
        let crowded = Candidate { active: Tokens(60_000), ..queued };
        assert_eq!(warm(&desk).ask(&desk, &[crowded, worker(1)]), (1, Reason::Spill), "3 against 2 + 1.2");
    }

    #[test]
    fn normalised_queues_make_one_waiting_token_weigh_as_much_as_a_million() {
        let desk = prompt(1, 10);
        let half = continued(&desk, 2, 10);
        for queued in [1, 1_000_000] {
            let queued = Candidate { queued: Tokens(queued), ..worker(0) };
            assert_eq!(warm(&desk).ask(&half, &[queued, worker(1)]).0, 1, "1.5 for the prefix against 2");
            assert_eq!(warm(&desk).ask(&desk, &[queued, worker(1)]).0, 0, "3 for the prefix against 2");
        }
    }

    #[test]
    fn prompts_that_differ_after_4096_tokens_look_alike() {
        let shared = prompt(1, 256);
        let mut scene = warm(&continued(&shared, 2, 1_000));
        let other = continued(&shared, 3, 1_000);
        assert_eq!(
            scene.ask(&other, &[worker(0), worker(1)]),
            (0, Reason::Prefix),
            "a fifth of it is known, and it counts as all"
        );
    }

    #[test]
    fn the_history_believes_in_blocks_that_the_worker_no_longer_holds() {
        let desk = prompt(1, 10);
        let cold = Candidate { overlap: Tokens(0), ..worker(0) };
        let holder = Candidate { overlap: Tokens(160), ..worker(1) };
        assert_eq!(warm(&desk).ask(&desk, &[cold, holder]), (0, Reason::Prefix));
    }

    #[test]
    fn equals_are_drawn() {
        let counts = Scene::of("gie:prefix=0").poll(300, &prompt(1, 1), &[worker(0), worker(1), worker(2)]);
        assert!(counts.iter().all(|count| *count > 70), "{counts:?}");
    }
}
