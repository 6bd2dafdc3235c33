//! How long it takes until a prompt has been read, learned from first tokens.
//!
//! Each first token says: with so many uncached tokens before it and in it, and so many tokens of KV state read by the
//! answers under way, it took so long. Over the whole fleet that makes a plane: a time for every first token, one for each
//! token of prompt, one for each token of context. How far one worker is off that plane, as a ratio, is its slowness.
//! Fitting a ratio of time to tokens for each worker instead would take workers that get long prompts for fast ones, and
//! send them more of the same.
//!
//! An answer that is not streamed tells no first token. It only says that reading took no longer than all of it, which is used where there is
//! nothing better: as long as no first token has told anything, the guess is brought down to it.
//!
//! Errors count in proportion to the time expected, so that a rush with its long waits does not drown what quiet times tell. All
//! sums forget, so that another engine, model or neighbour on the machine is noticed within some dozens of requests.

use std::time::Duration;

/// A small GPU's pace in seconds per prompt token, before anybody has told anything.
const FIRST_GUESS_S: f64 = 1e-4;
/// What a wait is measured in when errors are weighed: below, it does not matter how short it was expected to be.
const GRAIN_S: f64 = 0.02;
/// A first token older than so many others counts for less than 1/e: for the fleet, and for one worker.
const MEMORY: (f64, f64) = (1_000.0, 64.0);
/// The guess counts as much as this many first tokens that take next to no time.
const TRUST: f64 = 0.1;
/// To what power of the ratio a guess gives way to an answer that came sooner.
const YIELD: f64 = 0.5;
/// A worker is taken for as fast as the fleet with the weight of this many first tokens of its own.
const TRUST_OWN: f64 = 8.0;
/// Whatever is measured, a worker is not taken for more than so many times as fast or slow as the fleet.
const FARTHEST: f64 = 16.0;
/// Nothing is read faster than this, in seconds per prompt token.
const LEAST_TOKEN_S: f64 = 1e-12;
/// Tokens of prompt, and of context, in one unit of the fit: keeps its sums of like size.
const UNITS: [f64; 3] = [1.0, 1e3, 1e5];

/// What a first token waits for on one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Work {
    /// Uncached prompt tokens: those of others before it, and its own.
    pub(crate) tokens: f64,
    /// Tokens of KV state that requests under way hold, each counted for every request that reads it.
    pub(crate) context: f64,
}

/// The fleet's plane: weighted least squares, older first tokens counting less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Sums of products of the three features, and of each with the time.
    products: [[f64; 3]; 3],
    times: [f64; 3],
    /// Seconds for each first token, each prompt token, each token of context.
    fit: [f64; 3],
    /// Whether a first token has told anything.
    told: bool,
}

impl Default for Pace {
    fn default() -> Self {
        let guess = FIRST_GUESS_S * UNITS[1];
        // A guess has been "seen" for each feature by itself, which also keeps the sums invertible.
        let weight = TRUST / (GRAIN_S * GRAIN_S);
        let products = [[weight, 0.0, 0.0], [0.0, weight, 0.0], [0.0, 0.0, weight]];
        Self { products, times: [0.0, weight * guess, 0.0], fit: [0.0, FIRST_GUESS_S, 0.0], told: false }
    }
}

impl Pace {
    /// It took so long.
    pub(crate) fn learn(&mut self, work: Work, took: Duration) {
        self.told = true;
        let features = features(work);
        let grain = self.seconds(work) + GRAIN_S;
        let (keep, weight) = (1.0 - 1.0 / MEMORY.0, 1.0 / (grain * grain));
        for (row, feature) in features.iter().enumerate() {
            for (sum, other) in self.products[row].iter_mut().zip(features) {
                *sum = keep.mul_add(*sum, weight * feature * other);
            }
            self.times[row] = keep.mul_add(self.times[row], weight * feature * took.as_secs_f64());
        }
        self.solve();
    }

    /// It took no longer than that.
    pub(crate) fn learn_at_most(&mut self, work: Work, took: Duration) {
        let ratio = took.as_secs_f64() / self.seconds(work);
        if self.told || ratio.is_nan() || ratio >= 1.0 {
            return;
        }
        let guess = (self.fit[1] * ratio.max(1.0 / FARTHEST).powf(YIELD)).max(LEAST_TOKEN_S);
        self.times[1] = self.products[1][1] * guess * UNITS[1];
        self.fit[1] = guess;
    }

    /// Seconds for each prompt token.
    pub(crate) fn token_s(&self) -> f64 {
        self.fit[1]
    }

    /// Seconds until the first token.
    pub(crate) fn seconds(&self, work: Work) -> f64 {
        self.fit[0] + self.fit[1] * work.tokens + self.fit[2] * work.context
    }

    /// Finds the plane. Nothing takes less than no time: a feature that seems to is left out, context first.
    fn solve(&mut self) {
        for left_out in [None, Some(2), Some(0)] {
            let mut products = self.products;
            let mut times = self.times;
            for gone in left_out.into_iter().chain((left_out == Some(0)).then_some(2)) {
                products[gone] = [0.0; 3];
                products.iter_mut().for_each(|row| row[gone] = 0.0);
                products[gone][gone] = 1.0;
                times[gone] = 0.0;
            }
            let fit = solve(products, times);
            // Divided here, once for all that is asked before the next first token.
            self.fit = [0, 1, 2].map(|feature| fit[feature] / UNITS[feature]);
            if self.fit.iter().all(|part| *part >= 0.0) {
                break;
            }
        }
        self.fit[1] = self.fit[1].max(LEAST_TOKEN_S);
    }
}

fn features(work: Work) -> [f64; 3] {
    [1.0, work.tokens / UNITS[1], work.context / UNITS[2]]
}

/// Solves three linear equations with a symmetric, positive definite matrix, by elimination.
fn solve(mut matrix: [[f64; 3]; 3], mut right: [f64; 3]) -> [f64; 3] {
    for pivot in 0..3 {
        let (upper, lower) = matrix.split_at_mut(pivot + 1);
        for (place, row) in lower.iter_mut().enumerate() {
            let factor = row[pivot] / upper[pivot][pivot];
            for (value, above) in row.iter_mut().zip(upper[pivot]) {
                *value -= factor * above;
            }
            right[pivot + 1 + place] -= factor * right[pivot];
        }
    }
    let mut solution = [0.0; 3];
    for row in (0..3).rev() {
        let known: f64 =
            matrix[row].iter().zip(solution).skip(row + 1).map(|(factor, part)| factor * part).sum();
        solution[row] = (right[row] - known) / matrix[row][row];
    }
    solution
}

/// How many times as long as the fleet's plane says one worker takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slowness {
    /// Sum of logarithms of the ratio, older ones counting less, and their weight.
    log: f64,
    weight: f64,
}

impl Slowness {
    /// A first token took so long, and should have taken `expected` seconds.
    pub(crate) fn learn(&mut self, expected: f64, took: Duration) {
        let keep = 1.0 - 1.0 / MEMORY.1;
        let ratio = (took.as_secs_f64() + GRAIN_S) / (expected + GRAIN_S);
        self.log = keep.mul_add(self.log, ratio.clamp(1.0 / FARTHEST, FARTHEST).ln());
        self.weight = keep.mul_add(self.weight, 1.0);
    }

    /// The ratio; one for a worker that has told little.
    pub(crate) fn ratio(&self) -> f64 {
        (self.log / (self.weight + TRUST_OWN)).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    fn after(count: usize, plane: impl Fn(Work) -> f64) -> Pace {
        let mut pace = Pace::default();
        let mut chance = Chance::new(1);
        for _ in 0..count {
            let work = Work {
                tokens: 100.0 + 10_000.0 * chance.unit() * chance.unit(),
                context: 500_000.0 * chance.unit(),
            };
            pace.learn(work, Duration::from_secs_f64(plane(work) * (0.8 + 0.4 * chance.unit())));
        }
        pace
    }

    #[test]
    fn it_finds_what_first_tokens_prompt_tokens_and_context_cost() {
        let pace = after(3_000, |work| 0.05 + 4e-5 * work.tokens + 2e-7 * work.context);
        assert!((pace.token_s() - 4e-5).abs() < 4e-6, "{pace:?}");
        let expected = 0.05 + 0.04 + 0.02;
        let found = pace.seconds(Work { tokens: 1_000.0, context: 100_000.0 });
        assert!((found - expected).abs() < 0.1 * expected, "{found} s, not {expected}");
    }

    #[test]
    fn before_any_evidence_it_is_a_small_gpu_and_soon_no_longer() {
        assert!((Pace::default().token_s() - FIRST_GUESS_S).abs() < 1e-9);
        let pace = after(30, |work| 1e-5 * work.tokens);
        assert!(pace.token_s() < 2e-5, "{pace:?}");
    }

    #[test]
    fn a_guess_gives_way_to_answers_that_come_sooner_and_to_no_others() {
        let mut pace = Pace::default();
        for (tokens, took_ms) in [(1_000.0, 20), (1_000.0, 500), (10.0, 400), (2_000.0, 80)].repeat(20) {
            let work = Work { tokens, context: 50_000.0 };
            pace.learn_at_most(work, Duration::from_millis(took_ms));
        }
        assert!((pace.token_s() / 2e-5 - 1.0).abs() < 0.01, "{pace:?}");
        pace.learn(Work { tokens: 1_000.0, context: 0.0 }, Duration::from_millis(60));
        let told = pace.token_s();
        assert!(told > 3e-5, "{pace:?}");
        pace.learn_at_most(Work { tokens: 1_000.0, context: 0.0 }, Duration::from_millis(1));
        assert!((pace.token_s() - told).abs() < 1e-12, "first tokens say more than whole answers");
    }

    #[test]
    fn nothing_takes_less_than_no_time() {
        for plane in [
            |work: Work| (0.3 - 4e-7 * work.context).max(0.001) + 1e-5 * work.tokens,
            |work: Work| (1e-4 * work.tokens - 0.05).max(0.001),
            |_: Work| 0.05,
        ] {
            let pace = after(500, plane);
            for work in
                [Work::default(), Work { tokens: 0.0, context: 1e6 }, Work { tokens: 1e5, context: 0.0 }]
            {
                assert!(pace.seconds(work) >= 0.0, "{pace:?} at {work:?}");
            }
            assert!(pace.token_s() > 0.0);
        }
    }

    #[test]
    fn another_engine_is_noticed() {
        let mut pace = after(3_000, |work| 0.05 + 4e-5 * work.tokens);
        let mut chance = Chance::new(2);
        for _ in 0..3_000 {
            let work = Work { tokens: 10_000.0 * chance.unit(), context: 0.0 };
            pace.learn(work, Duration::from_secs_f64(0.02 + 2e-4 * work.tokens));
        }
        assert!((pace.token_s() - 2e-4).abs() < 3e-5, "{pace:?}");
    }

    #[test]
    fn a_worker_is_as_fast_as_the_fleet_until_it_has_shown_otherwise() {
        let mut slowness = Slowness::default();
        assert!((slowness.ratio() - 1.0).abs() < 1e-9);
        for _ in 0..200 {
            slowness.learn(0.5, Duration::from_secs(1));
        }
        assert!((1.5..2.0).contains(&slowness.ratio()), "{}", slowness.ratio());
        for _ in 0..400 {
            slowness.learn(0.5, Duration::from_millis(500));
        }
        assert!(
            (slowness.ratio() - 1.0).abs() < 0.05,
            "it was moved to a faster machine: {}",
            slowness.ratio()
        );
    }
}
