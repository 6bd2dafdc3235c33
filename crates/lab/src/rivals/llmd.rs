//! llm-d: sticky until saturated, its default since August 2026.
//!
//! ```text
//! warm = those with m / L >= 0.8
//! among warm, unless there is none or  min P of the warm - min P of the others > 15,928 tokens/s x 18 s
//! least P + u
//! ```
//!
//! Source: llm-d-router, plugins `prefix-cache-affinity-filter` (`peakPrefillThroughput` 15,928, measured for a 32B model
//! on two H100s; longest penalty 18 s) and `token-load-scorer`, with the exact prefix index. Ties are drawn, as its picker
//! shuffles.
//!
//! Where this departs: upstream's load is the tokens of requests in flight, reaped after five minutes; here it is the
//! prompt tokens not yet read, of the router's own account. Peak throughput is one setting for the fleet here as there.

use warmroute_routing::policy::{Candidate, Candidates, Choice, OptionInfo, Options, Policy};
use warmroute_routing::{Chance, Request};

use super::choosing::{any_least, reason};

pub(super) const ABOUT: &str = "llm-d: stay with warm workers until they are 18 s behind, then least work";
pub(super) const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "threshold",
        default: 0.8,
        range: (0.0, 1.0),
        about: "share of the prompt a warm worker holds",
    },
    OptionInfo {
        name: "peak",
        default: 15_928.0,
        range: (1.0, 1e9),
        about: "prompt tokens a worker reads per second at best",
    },
    OptionInfo {
        name: "penalty",
        default: 18.0,
        range: (0.0, 1e6),
        about: "seconds by which warm workers may be behind the others",
    },
];

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    let slack_tokens = options.get("peak") * options.get("penalty");
    Sticky { threshold: options.get("threshold"), slack_tokens }
}

#[derive(Clone)]
struct Sticky {
    threshold: f64,
    /// Queued tokens by which warm workers may exceed the others.
    slack_tokens: f64,
}

impl Sticky {
    fn is_warm(&self, candidate: &Candidate) -> bool {
        let prompt = (candidate.overlap + candidate.uncached).as_f64();
        candidate.overlap.as_f64() >= self.threshold * prompt
    }

    /// Whether only warm workers are considered. Without any, theirs is an infinite queue; without others, theirs is.
    fn stays(&self, among: Candidates<'_>) -> bool {
        let shortest = |warm: bool| {
            let some = among.iter().filter(|candidate| self.is_warm(candidate) == warm);
            some.map(|candidate| candidate.queued.as_f64()).fold(f64::INFINITY, f64::min)
        };
        shortest(true) - shortest(false) <= self.slack_tokens
    }
}

impl Policy for Sticky {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, chance: &mut Chance) -> Choice {
        let stays = self.stays(among);
        let considered = among.iter().filter(|candidate| !stays || self.is_warm(candidate));
        let chosen = any_least(considered, chance, |candidate| {
            (candidate.queued + candidate.uncached).as_f64()
        });
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

    const PROMPT: u32 = 1_600;

    fn warm(id: u32, queued: u32) -> Candidate {
        Candidate { overlap: Tokens(PROMPT), queued: Tokens(queued), ..worker(id) }
    }

    #[test]
    fn a_warm_worker_keeps_its_prompt_for_18_seconds_of_queue_while_others_idle() {
        let mut scene = Scene::of("llmd");
        let slack = 15_928 * 18;
        assert_eq!(scene.ask(&prompt(1, 100), &[warm(0, slack), worker(1)]), (0, Reason::Prefix));
        assert_eq!(scene.ask(&prompt(1, 100), &[warm(0, slack + 1), worker(1)]), (1, Reason::Spill));
    }

    #[test]
    fn of_warm_workers_the_one_with_the_least_work_is_taken() {
        assert_eq!(Scene::of("llmd").ask(&prompt(1, 100), &[warm(0, 900), warm(1, 800), worker(2)]).0, 1);
    }

    #[test]
    fn just_under_the_threshold_affinity_is_worth_only_what_it_saves() {
        let nearly = Candidate { overlap: Tokens(PROMPT * 79 / 100), queued: Tokens(1_300), ..worker(0) };
        assert_eq!(Scene::of("llmd").ask(&prompt(1, 100), &[nearly, worker(1)]), (1, Reason::Spill));
    }

    #[test]
    fn with_nobody_warm_it_is_least_work_and_equals_are_drawn() {
        let mut scene = Scene::of("llmd");
        let busy = Candidate { queued: Tokens(5), ..worker(0) };
        assert_eq!(scene.ask(&prompt(1, 100), &[busy, worker(1)]), (1, Reason::LeastLoad));
        let counts = scene.poll(300, &prompt(1, 100), &[worker(0), worker(1)]);
        assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    }
}
