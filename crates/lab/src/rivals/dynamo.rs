//! NVIDIA Dynamo's KV router.
//!
//! ```text
//! least  scale x max(0, (P + L - credit x m) / bs)  +  K / bs
//! ```
//!
//! Source: crate dynamo-kv-router 1.6.1, its default selector. Credit for overlap and scale of the prefill load are 1, the
//! temperature is 0: the least cost, equals drawn. With a temperature T a worker is drawn with weight
//! `exp(-(cost - least) / ((most - least) x T))`.
//!
//! Where this departs: K is the tokens that requests in flight will need, where upstream counts distinct blocks and adds
//! the new request's own. Tiers below the GPU, taints, decay of the credit (default 0) and the weight of active requests
//! (default 0) are left out.

use warmroute_routing::policy::{Candidate, Candidates, Choice, OptionInfo, Options, Policy};
use warmroute_routing::{Chance, Request};

use super::choosing::{any_least, fraction, reason};
use super::prefix::block_tokens;

pub(super) const ABOUT: &str = "Dynamo 1.6: the fewest blocks to read and to decode";
pub(super) const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "overlap_credit",
        default: 1.0,
        range: (0.0, 1e6),
        about: "blocks of work that one cached block saves",
    },
    OptionInfo {
        name: "prefill_scale",
        default: 1.0,
        range: (0.0, 1e6),
        about: "blocks to decode that one block to read weighs",
    },
    OptionInfo {
        name: "temperature",
        default: 0.0,
        range: (0.0, 1e6),
        about: "0 takes the least cost; more draws, the less sharply the higher",
    },
];

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    Dynamo {
        overlap_credit: options.get("overlap_credit"),
        prefill_scale: options.get("prefill_scale"),
        temperature: options.get("temperature"),
    }
}

#[derive(Clone)]
struct Dynamo {
    overlap_credit: f64,
    prefill_scale: f64,
    temperature: f64,
}

impl Dynamo {
    fn cost(&self, candidate: &Candidate, block: f64) -> f64 {
        let prompt = (candidate.overlap + candidate.uncached).as_f64();
        let credit = self.overlap_credit * candidate.overlap.as_f64();
        let reading = (candidate.queued.as_f64() + prompt - credit).max(0.0);
        (self.prefill_scale * reading + candidate.active.as_f64()) / block
    }

    fn draw<'a>(&self, among: Candidates<'a>, chance: &mut Chance, block: f64) -> &'a Candidate {
        let costs: Vec<f64> = among.iter().map(|candidate| self.cost(candidate, block)).collect();
        let (least, most) = costs.iter().fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), cost| {
            (least.min(*cost), most.max(*cost))
        });
        // Equal costs have no spread; any positive one makes their weights equal.
        let spread = if most > least { most - least } else { 1.0 };
        let weight = |cost: &f64| (-(cost - least) / (spread * self.temperature)).exp();
        let mut left = fraction(chance) * costs.iter().map(weight).sum::<f64>();
        let place = costs.iter().position(|cost| {
            left -= weight(cost);
            left < 0.0
        });
        among.nth(place.unwrap_or(costs.len() - 1))
    }
}

impl Policy for Dynamo {
    fn choose(&mut self, request: &Request<'_>, among: Candidates<'_>, chance: &mut Chance) -> Choice {
        let block = block_tokens(request);
        let chosen = if self.temperature > 0.0 {
            self.draw(among, chance, block)
        } else {
            any_least(among.iter(), chance, |candidate| self.cost(candidate, block))
        };
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

    #[test]
    fn a_cached_token_is_worth_a_queued_one() {
        let mut scene = Scene::of("dynamo");
        let warm = |queued| Candidate { overlap: Tokens(800), queued: Tokens(queued), ..worker(0) };
        assert_eq!(scene.ask(&prompt(1, 100), &[warm(799), worker(1)]), (0, Reason::Prefix));
        assert_eq!(scene.ask(&prompt(1, 100), &[warm(801), worker(1)]), (1, Reason::Spill));
    }

    #[test]
    fn tokens_being_decoded_weigh_as_much_as_tokens_to_read() {
        let warm = Candidate { overlap: Tokens(800), active: Tokens(900), ..worker(0) };
        assert_eq!(
            Scene::of("dynamo").ask(&prompt(1, 100), &[warm, worker(1)]),
            (1, Reason::Spill),
            "a prefix is given up for memory in use that delays nobody"
        );
    }

    #[test]
    fn equals_are_drawn() {
        let counts = Scene::of("dynamo").poll(300, &prompt(1, 4), &[worker(0), worker(1), worker(2)]);
        assert!(counts.iter().all(|count| *count > 70), "{counts:?}");
    }

    #[test]
    fn a_temperature_draws_the_dearer_worker_now_and_then() {
        let busy = Candidate { queued: Tokens(10_000), ..worker(0) };
        let share = |text| Scene::of(text).poll(2_000, &prompt(1, 4), &[busy, worker(1)])[0];
        assert_eq!(share("dynamo"), 0);
        // The least and the greatest cost: weights 1 and 1/e.
        let expected = 2_000.0 / (1.0 + std::f64::consts::E);
        assert!((share("dynamo:temperature=1") as f64 - expected).abs() < 80.0);
        assert!(share("dynamo:temperature=1000") > 900);
    }
}
