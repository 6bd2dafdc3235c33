//! Least prefill work left: what Mooncake's conductor (FAST 2025) comes to without its transfers.
//!
//! ```text
//! least  P + u;  of equals the fewest n
//! ```
//!
//! What is left of a tie goes to the worker chosen longest ago, which is our choice. Where this departs: P is counted in
//! tokens, not in predicted seconds, so workers of different speed look alike.

use warmroute_routing::policy::{Candidates, Choice, OptionInfo, Options, Policy};
use warmroute_routing::{Chance, Request};

use super::choosing::reason;

pub(super) const ABOUT: &str = "the least prompt tokens left to read, then the fewest requests";
pub(super) const OPTIONS: &[OptionInfo] = &[];

pub(super) fn build(_: &Options<'_>) -> impl Policy + use<> {
    LeastPrefill
}

#[derive(Clone)]
struct LeastPrefill;

impl Policy for LeastPrefill {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        let chosen = among.least(|candidate| {
            let left = (candidate.queued + candidate.uncached).as_f64();
            [left, f64::from(candidate.in_flight), candidate.last_chosen as f64]
        });
        let reason = reason(among.iter().map(|candidate| candidate.overlap), chosen.overlap);
        Choice { worker: chosen.worker, reason }
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::Tokens;
    use warmroute_routing::Reason;
    use warmroute_routing::policy::Candidate;

    use super::super::scene::{Scene, prompt, worker};

    #[test]
    fn work_left_decides_and_then_requests() {
        let mut scene = Scene::of("lpwl");
        let warm = Candidate { overlap: Tokens(800), queued: Tokens(799), in_flight: 9, ..worker(0) };
        assert_eq!(scene.ask(&prompt(1, 100), &[warm, worker(1)]), (0, Reason::Prefix));
        let level = Candidate { queued: Tokens(800), ..warm };
        assert_eq!(scene.ask(&prompt(1, 100), &[level, worker(1)]), (1, Reason::Spill));
    }

    #[test]
    fn a_few_common_tokens_draw_every_paced_prompt_to_one_worker() {
        let common = Candidate { overlap: Tokens(16), ..worker(0) };
        let counts = Scene::of("lpwl").poll(100, &prompt(1, 100), &[common, worker(1), worker(2)]);
        assert_eq!(counts, [100, 0, 0]);
    }

    #[test]
    fn long_answers_pile_up_unseen() {
        let decoding = Candidate { overlap: Tokens(16), in_flight: 200, active: Tokens(90_000), ..worker(0) };
        assert_eq!(Scene::of("lpwl").ask(&prompt(1, 100), &[decoding, worker(1)]).0, 0);
    }
}
