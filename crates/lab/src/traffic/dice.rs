//! Distributions from which lengths, times and choices are drawn.
//!
//! All chance of a workload comes from one seed. Arrivals, lengths and ids draw from forks of their own, so that another
//! rate changes when requests come and not what they say.

use std::f64::consts::TAU;
use std::time::Duration;

use warmroute_kv::Tokens;
use warmroute_routing::Chance;

/// A source of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Dice(Chance);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(Chance::new(seed))
    }

    /// Dice of their own, which no longer depend on how these are used.
    pub(super) const fn fork(&mut self) -> Self {
        Self::new(self.seed())
    }

    /// A seed for something else.
    pub(super) const fn seed(&mut self) -> u64 {
        self.0.draw()
    }

    /// A uniform number from 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        // The upper 53 bits are what a double holds.
        (self.0.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something with this probability happens.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A uniform index below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    /// A uniform number of tokens, both ends included.
    pub(super) fn between(&mut self, least: u32, most: u32) -> u32 {
        least + self.0.below((most - least) as usize + 1) as u32
    }

    /// A sample of the exponential distribution with mean 1.
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// A sample of the standard normal distribution (Box and Muller 1958; the second one is thrown away).
    fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (TAU * self.unit()).cos()
    }
}

/// A lognormal distribution between two bounds: many small ones, few large ones, half below the median.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lognormal {
    pub(super) median: f64,
    /// Standard deviation of the logarithm.
    pub(super) sigma: f64,
    /// Smaller samples are raised to the first, larger ones lowered to the second.
    pub(super) range: (f64, f64),
}

impl Lognormal {
    pub(super) fn draw(&self, dice: &mut Dice) -> f64 {
        (self.median * (self.sigma * dice.normal()).exp()).clamp(self.range.0, self.range.1)
    }

    pub(super) fn tokens(&self, dice: &mut Dice) -> u32 {
        self.draw(dice).round() as u32
    }

    pub(super) fn seconds(&self, dice: &mut Dice) -> Duration {
        Duration::from_secs_f64(self.draw(dice))
    }
}

/// Places in a ranking: the one at rank r is drawn in proportion to r^-skew.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    /// Weights up to and including each rank.
    sums: Vec<f64>,
}

impl Zipf {
    /// A ranking of `count` places, at least one.
    pub(super) fn new(count: usize, skew: f64) -> Self {
        let weights = (1..=count.max(1)).map(|rank| (rank as f64).powf(-skew));
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { sums: sums.collect() }
    }

    /// A place, counted from 0 for the most popular.
    pub(super) fn draw(&self, dice: &mut Dice) -> usize {
        let last = self.sums.len() - 1;
        let at = dice.unit() * self.sums[last];
        self.sums.partition_point(|sum| *sum <= at).min(last)
    }
}

/// A distribution by its quantiles: pairs of a share, rising from 0 to 1, and the value that this share does not exceed. Between
/// two of them the logarithm is uniform.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantiles(pub(super) &'static [(f64, f64)]);

impl Quantiles {
    pub(super) fn tokens(self, dice: &mut Dice) -> Tokens {
        let at = dice.unit();
        let upper = self.0.partition_point(|(share, _)| *share <= at).clamp(1, self.0.len() - 1);
        let ((low, least), (high, most)) = (self.0[upper - 1], self.0[upper]);
        let part = (at - low) / (high - low);
        Tokens((least * (most / least).powf(part)).round() as u32)
    }
}

/// Poisson arrivals: an endless list of points in time.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    dice: Dice,
    rate: f64,
    /// Time in units of the mean gap, so that all rates see the same gaps.
    at: f64,
}

impl Arrivals {
    /// `rate` arrivals in a second.
    pub(super) const fn new(dice: Dice, rate: f64) -> Self {
        Self { dice, rate, at: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.at += self.dice.exponential();
        Some(Duration::from_secs_f64(self.at / self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 20_000;

    #[test]
    fn half_of_a_lognormal_lies_below_its_median_and_all_within_its_bounds() {
        let lengths = Lognormal { median: 800.0, sigma: 0.9, range: (50.0, 8_000.0) };
        let mut dice = Dice::new(1);
        let drawn: Vec<f64> = (0..DRAWS).map(|_| lengths.draw(&mut dice)).collect();
        let below = drawn.iter().filter(|length| **length < 800.0).count();
        assert!(below.abs_diff(DRAWS / 2) < 300, "{below} of {DRAWS}");
        assert!(drawn.iter().all(|length| (50.0..=8_000.0).contains(length)));
    }

    #[test]
    fn the_second_of_a_ranking_is_half_as_popular_as_the_first() {
        let ranking = Zipf::new(40, 1.0);
        let mut dice = Dice::new(2);
        let mut counts = [0_usize; 40];
        for _ in 0..DRAWS {
            counts[ranking.draw(&mut dice)] += 1;
        }
        assert!(counts[0].abs_diff(2 * counts[1]) < 400, "{counts:?}");
        assert!(counts.iter().all(|count| *count > 0));
    }

    #[test]
    fn quantiles_are_met() {
        let quantiles = Quantiles(&[(0.0, 10.0), (0.5, 100.0), (1.0, 5_000.0)]);
        let mut dice = Dice::new(3);
        let below = (0..DRAWS).filter(|_| quantiles.tokens(&mut dice) < Tokens(100)).count();
        assert!(below.abs_diff(DRAWS / 2) < 300, "{below} of {DRAWS}");
    }

    #[test]
    fn arrivals_keep_their_rate_and_their_pattern() {
        let last = Arrivals::new(Dice::new(4), 10.0).nth(DRAWS - 1).unwrap().as_secs_f64();
        assert!((last - 2_000.0).abs() < 60.0, "{last} s");
        let twice = Arrivals::new(Dice::new(4), 20.0).nth(DRAWS - 1).unwrap().as_secs_f64();
        assert!((last - 2.0 * twice).abs() < 1e-6);
    }
}
