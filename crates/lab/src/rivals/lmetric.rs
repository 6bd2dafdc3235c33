//! LMetric (OSDI 2026): the product of what is to be read and how many share the worker.
//!
//! ```text
//! least  (P + u) x (n + 1)
//! ```
//!
//! A product needs no weight between the two. Equal products are drawn, which is our choice. Where this departs: only the
//! formula is reproduced, on the router's own account of P and n.

use warmroute_routing::policy::{Candidates, Choice, OptionInfo, Options, Policy};
use warmroute_routing::{Chance, Request};

use super::choosing::{any_least, reason};

pub(super) const ABOUT: &str = "LMetric: the least product of prompt tokens to read and requests in flight";
pub(super) const OPTIONS: &[OptionInfo] = &[];

pub(super) fn build(_: &Options<'_>) -> impl Policy + use<> {
    LMetric
}

#[derive(Clone)]
struct LMetric;

impl Policy for LMetric {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, chance: &mut Chance) -> Choice {
        let chosen = any_least(among.iter(), chance, |candidate| {
            (candidate.queued + candidate.uncached).as_f64() * (f64::from(candidate.in_flight) + 1.0)
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
    fn half_a_prompt_saved_is_worth_one_request_beside_none() {
        let warm = |in_flight| Candidate { overlap: Tokens(801), in_flight, ..worker(0) };
        let mut scene = Scene::of("lmetric");
        assert_eq!(scene.ask(&prompt(1, 100), &[warm(1), worker(1)]), (0, Reason::Prefix), "799 x 2 < 1,600");
        assert_eq!(scene.ask(&prompt(1, 100), &[warm(2), worker(1)]), (1, Reason::Spill));
    }

    #[test]
    fn a_worker_with_nothing_to_read_is_free_however_many_it_serves() {
        let crowded = Candidate { overlap: Tokens(1_600), in_flight: 500, ..worker(0) };
        assert_eq!(Scene::of("lmetric").ask(&prompt(1, 100), &[crowded, worker(1)]), (0, Reason::Prefix));
    }
}
