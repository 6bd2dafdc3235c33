//! One row of logits becomes one token: the likeliest, or a seeded draw.
//!
//! The draw uses xoshiro256++ by name rather than `StdRng` or `SmallRng`, whose algorithms may change with a release: the
//! same seed must repeat the same answer after an upgrade. The generator advances once per token, so a
//! preempted and recomputed request draws what it would have drawn undisturbed.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};
use warmroute_kv::TokenId;
use warmroute_openai::request::Sampling;

/// The chooser of one answer; holds the state of its generator.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    chance: Xoshiro256PlusPlus,
}

type Candidate = (TokenId, f32);

impl Sampler {
    /// A chooser at the start of the sequence that `seed` stands for (`sampling.seed` is the client's wish; the edge has
    /// replaced a missing one).
    pub(super) fn new(sampling: Sampling, seed: u64) -> Self {
        Self { sampling, chance: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// The next token. Ties go to the lower id, so that the choice never depends on a sort's order.
    pub(super) fn pick(&mut self, logits: &[f32]) -> TokenId {
        let candidates = (0..).zip(logits.iter().copied());
        if self.sampling.is_greedy() {
            let best = candidates.reduce(|best, next| if next.1 > best.1 { next } else { best });
            return best.expect("a vocabulary is never empty").0;
        }
        let mut candidates: Vec<Candidate> = candidates.collect();
        self.narrow(&mut candidates);
        self.draw(&candidates)
    }

    /// Applies `top_k`, then `top_p`. Leaves the order by id alone where neither narrows, which saves the sort.
    fn narrow(&self, candidates: &mut Vec<Candidate>) {
        let likelier = |a: &Candidate, b: &Candidate| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let keep = self.sampling.top_k.map_or(candidates.len(), |keep| keep.max(1) as usize);
        if keep < candidates.len() {
            candidates.select_nth_unstable_by(keep - 1, likelier);
            candidates.truncate(keep);
        } else if self.sampling.top_p >= 1.0 {
            return;
        }
        candidates.sort_unstable_by(likelier);
        let weights = self.weights(candidates);
        let enough = f64::from(self.sampling.top_p) * weights.iter().sum::<f64>();
        let mut reached = 0.0;
        let needed = weights.iter().take_while(|&&weight| {
            let lacking = reached < enough;
            reached += weight;
            lacking
        });
        let needed = needed.count();
        candidates.truncate(needed.max(1));
    }

    /// Unnormalised probabilities.
    fn weights(&self, candidates: &[Candidate]) -> Vec<f64> {
        let top = candidates.iter().map(|candidate| candidate.1).fold(f32::NEG_INFINITY, f32::max);
        let weigh = |logit: f32| f64::from((logit - top) / self.sampling.temperature).exp();
        candidates.iter().map(|candidate| weigh(candidate.1)).collect()
    }

    fn draw(&mut self, candidates: &[Candidate]) -> TokenId {
        let weights = self.weights(candidates);
        let mut left = self.unit() * weights.iter().sum::<f64>();
        let drawn = candidates.iter().zip(&weights).find(|(_, weight)| {
            left -= **weight;
            left < 0.0
        });
        // Rounding may leave a crumb after the last candidate: then the last one is meant.
        drawn.map(|(candidate, _)| candidate).or(candidates.last()).expect("a vocabulary is never empty").0
    }

    /// Uniform in [0, 1), from the upper 53 bits: as many as an `f64` holds.
    fn unit(&mut self) -> f64 {
        (self.chance.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

    fn draws(sampling: Sampling, seed: u64, count: usize) -> Vec<TokenId> {
        let mut sampler = Sampler::new(sampling, seed);
        (0..count).map(|_| sampler.pick(&LOGITS)).collect()
    }

    #[test]
    fn greedy_takes_the_likeliest_and_the_lower_id_of_a_tie() {
        assert_eq!(draws(Sampling::GREEDY, 0, 2), [1, 1]);
    }

    #[test]
    fn equal_seeds_draw_equally_and_others_do_not() {
        let drawn = |seed| draws(Sampling::default(), seed, 50);
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn the_draws_of_a_seed_are_stable_over_releases() {
        assert_eq!(draws(Sampling::default(), 42, 8), [3, 1, 3, 3, 3, 2, 1, 3]);
    }

    #[test]
    fn top_k_and_top_p_narrow_the_choice() {
        let only = |sampling| {
            let mut seen = draws(sampling, 3, 3000);
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        let open = Sampling::default();
        assert_eq!(only(Sampling { top_k: Some(1), ..open }), [1]);
        assert_eq!(only(Sampling { top_k: Some(3), ..open }), [1, 2, 3]);
        assert_eq!(
            only(Sampling { top_p: 0.5, ..open }),
            [1, 3],
            "one of the two likeliest holds 0.40 of the mass"
        );
        assert_eq!(only(open).len(), 5);
    }
}
