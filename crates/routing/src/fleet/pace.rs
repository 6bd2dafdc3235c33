//! How long workers take to read prompts, learned from first tokens.
//!
//! Each first token says: so many uncached tokens were before it and in it, and it took so long. Over the whole fleet that
//! makes a line: a time that every first token costs, and a time per token. How far one worker is off that line, as a
//! ratio, is its slowness. Fitting a ratio of time to tokens for each worker instead would take workers that get long
//! prompts for fast ones, and send them more of the same.
//!
//! All sums forget, so that another engine, model or neighbour on the machine is noticed within some dozens of requests.

use std::time::Duration;

/// A small GPU's pace in seconds per token, before anybody has told anything.
const FIRST_GUESS_S: f64 = 1e-4;
/// The first guess counts as much as this many first tokens, each of as many tokens.
const TRUST: (f64, f64) = (2.0, 1_000.0);
/// A first token older than so many others counts for less than 1/e: the fleet's line, and one worker's slowness.
const MEMORY: (f64, f64) = (1_000.0, 64.0);
/// A worker is taken for as fast as the fleet with the weight of this many seconds of its own evidence.
const TRUST_S: f64 = 3.0;
/// Whatever is measured, a worker is not taken for more than so many times as fast or slow as the fleet.
const FARTHEST: f64 = 16.0;

/// The fleet's line: weighted least squares over first tokens, older ones counting less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    weight: f64,
    tokens: f64,
    seconds: f64,
    squares: f64,
    products: f64,
}

impl Default for Pace {
    fn default() -> Self {
        let (weight, tokens) = TRUST;
        let seconds = tokens * FIRST_GUESS_S;
        // As if the guess had been seen at half and at one and a half times the usual length.
        Self {
            weight,
            tokens: weight * tokens,
            seconds: weight * seconds,
            squares: weight * 1.25 * tokens * tokens,
            products: weight * 1.25 * tokens * seconds,
        }
    }
}

impl Pace {
    /// It took so long until `tokens` were read.
    pub(crate) fn learn(&mut self, tokens: f64, took: Duration) {
        let (keep, seconds) = (1.0 - 1.0 / MEMORY.0, took.as_secs_f64());
        self.weight = keep.mul_add(self.weight, 1.0);
        self.tokens = keep.mul_add(self.tokens, tokens);
        self.seconds = keep.mul_add(self.seconds, seconds);
        self.squares = keep.mul_add(self.squares, tokens * tokens);
        self.products = keep.mul_add(self.products, tokens * seconds);
    }

    /// Seconds for each token.
    pub(crate) fn token_s(&self) -> f64 {
        let ratio = self.seconds / self.tokens.max(1.0);
        let variance = self.squares - self.tokens * self.tokens / self.weight;
        let slope = (self.products - self.tokens * self.seconds / self.weight) / variance;
        // Where lengths hardly differ there is no slope to find, and a first token costs no less than nothing.
        let found = variance > 0.01 * self.squares && slope.is_finite();
        if found { slope.clamp(ratio / FARTHEST, ratio) } else { ratio }
    }

    /// Seconds until `tokens` tokens have been read.
    pub(crate) fn seconds(&self, tokens: f64) -> f64 {
        let token_s = self.token_s();
        let each = (self.seconds - token_s * self.tokens) / self.weight;
        token_s.mul_add(tokens, each.max(0.0))
    }
}

/// How many times as long as the fleet's line says one worker takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slowness {
    took: f64,
    expected: f64,
}

impl Slowness {
    /// A first token took so long, and should have taken `expected` seconds.
    pub(crate) fn learn(&mut self, expected: f64, took: Duration) {
        let keep = 1.0 - 1.0 / MEMORY.1;
        self.took = keep.mul_add(self.took, took.as_secs_f64());
        self.expected = keep.mul_add(self.expected, expected);
    }

    /// The ratio; one for a worker that has told little.
    pub(crate) fn ratio(&self) -> f64 {
        ((self.took + TRUST_S) / (self.expected + TRUST_S)).clamp(1.0 / FARTHEST, FARTHEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    fn after(count: usize, line: impl Fn(f64) -> f64) -> Pace {
        let mut pace = Pace::default();
        let mut chance = Chance::new(1);
        for _ in 0..count {
            let tokens = 100.0 + 10_000.0 * chance.unit() * chance.unit();
            pace.learn(tokens, Duration::from_secs_f64(line(tokens) * (0.8 + 0.4 * chance.unit())));
        }
        pace
    }

    #[test]
    fn it_finds_the_time_of_each_token_and_of_each_first_token() {
        let pace = after(2_000, |tokens| 0.05 + 4e-5 * tokens);
        assert!((pace.token_s() - 4e-5).abs() < 4e-6, "{}", pace.token_s());
        assert!((pace.seconds(1_000.0) - 0.09).abs() < 0.01, "{}", pace.seconds(1_000.0));
    }

    #[test]
    fn before_any_evidence_it_is_a_small_gpu_and_afterwards_no_longer() {
        assert!((Pace::default().token_s() - FIRST_GUESS_S).abs() < 1e-9);
        let pace = after(20, |tokens| 1e-5 * tokens);
        assert!(pace.token_s() < 2e-5, "{}", pace.token_s());
    }

    #[test]
    fn equal_lengths_give_a_ratio_and_no_nonsense() {
        let mut pace = Pace::default();
        for _ in 0..5_000 {
            pace.learn(1_000.0, Duration::from_millis(50));
        }
        assert!((pace.token_s() - 5e-5).abs() < 1e-5, "{}", pace.token_s());
    }

    #[test]
    fn a_worker_is_as_fast_as_the_fleet_until_it_has_shown_otherwise() {
        let mut slowness = Slowness::default();
        assert!((slowness.ratio() - 1.0).abs() < 1e-9);
        for _ in 0..60 {
            slowness.learn(0.5, Duration::from_secs(1));
        }
        assert!((1.7..2.0).contains(&slowness.ratio()), "{}", slowness.ratio());
        for _ in 0..600 {
            slowness.learn(0.5, Duration::from_millis(500));
        }
        assert!((slowness.ratio() - 1.0).abs() < 0.05, "it was restarted elsewhere: {}", slowness.ratio());
    }
}
