//! How long it takes until a prompt has been read, learned from first tokens.
//!
//! Each first token says: with so many uncached tokens before it and in it, and so many tokens of KV state read by the
//! answers under way, it took so long. Over the whole fleet that makes a plane: a time for every first token, one for each
//! token of prompt, one for each token of context. How far one worker is off that plane, as a ratio, is its slowness.
//! Fitting a ratio of time to tokens for each worker instead would take workers that get long prompts for fast ones, and
//! send them more of the same.
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
/// The guess counts as much as this many first tokens.
const TRUST: f64 = 2.0;
/// A worker is taken for as fast as the fleet with the weight of this many first tokens of its own.
const TRUST_OWN: f64 = 32.0;
/// Whatever is measured, a worker is not taken for more than so many times as fast or slow as the fleet.
const FARTHEST: f64 = 16.0;
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
}

impl Default for Pace {
    fn default() -> Self {
        let guess = FIRST_GUESS_S * UNITS[1];
        // A guess has been "seen" for each feature by itself, which also keeps the sums invertible.
        let weight = TRUST / (GRAIN_S * GRAIN_S);
        let products = [[weight, 0.0, 0.0], [0.0, weight, 0.0], [0.0, 0.0, weight]];
        Self { products, times: [0.0, weight * guess, 0.0], fit: [0.0, guess, 0.0] }
    }
}

impl Pace {
    /// It took so long.
    pub(crate) fn learn(&mut self, work: Work, took: Duration) {
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

    /// Seconds for each prompt token.
    pub(crate) fn token_s(&self) -> f64 {
        self.fit[1] / UNITS[1]
    }

    /// Seconds until the first token.
    pub(crate) fn seconds(&self, work: Work) -> f64 {
        self.fit.iter().zip(features(work)).map(|(fit, feature)| fit * feature).sum()
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
            self.fit = solve(products, times);
            if self.fit.iter().all(|part| *part >= 0.0) {
                break;
            }
        }
        self.fit[1] = self.fit[1].max(1e-9);
    }
}

fn features(work: Work) -> [f64; 3] {
    [1.0, work.tokens / UNITS[1], work.context / UNITS[2]]
}

/// Solves three linear equations with a symmetric, positive definite matrix, by elimination.
fn solve(mut matrix: [[f64; 3]; 3], mut right: [f64; 3]) -> [f64; 3] {
    for pivot in 0..3 {
        for row in pivot + 1..3 {
            let factor = matrix[row][pivot] / matrix[pivot][pivot];
            for column in pivot..3 {
                matrix[row][column] -= factor * matrix[pivot][column];
            }
            right[row] -= factor * right[pivot];
        }
    }
    let mut solution = [0.0; 3];
    for row in (0..3).rev() {
        let known: f64 = (row + 1..3).map(|column| matrix[row][column] * solution[column]).sum();
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
