//! Sums that forget: what was added a half-life ago counts half.
//!
//! All sums of a fleet forget at the same pace, so that instead of shrinking each of them on every look, what is added later is
//! made to count more. A look costs one power of two for the whole fleet, and a multiplication for each sum. From time to time
//! all sums are shrunk by a power of two, which changes none of their digits.

use std::time::Duration;

use crate::time::Time;

/// Work done longer ago than this counts half. Long enough to tell who has been busy between two turns of a
/// conversation, short enough to forget a rush before the next.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// Sums are shrunk after so many half-lives: far from where powers of two end, and not often.
const REBASE: f64 = 64.0;

/// How much what is added counts, by the time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Decay {
    /// What is added now counts once.
    base: Time,
}

impl Decay {
    /// What a sum has to be multiplied with that something is added to at this time; a sum is divided by it to be read.
    pub(crate) fn weight(&self, now: Time) -> f64 {
        now.since(self.base).div_duration_f64(HALF_LIFE).exp2()
    }

    /// Makes weights small again if they have become large. Returns what all sums must be multiplied with.
    pub(crate) fn rebase(&mut self, now: Time) -> f64 {
        let half_lives = now.since(self.base).div_duration_f64(HALF_LIFE).floor();
        if half_lives < REBASE {
            return 1.0;
        }
        self.base = self.base + HALF_LIFE.mul_f64(half_lives);
        (-half_lives).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_a_half_life_ago_counts_half() {
        let decay = Decay::default();
        let later = Time::ZERO + HALF_LIFE;
        let sum = 100.0 * decay.weight(Time::ZERO) + 10.0 * decay.weight(later);
        assert!((sum / decay.weight(later + HALF_LIFE) - 30.0).abs() < 1e-9);
    }

    #[test]
    fn a_new_base_changes_no_sum() {
        let mut decay = Decay::default();
        let late = Time::ZERO + HALF_LIFE.mul_f64(100.3);
        let (sum, before) = (3.0 * decay.weight(late), decay.weight(late));
        let faded = decay.rebase(late);
        assert!((sum * faded / decay.weight(late) - sum / before).abs() < 1e-9);
        assert!(decay.weight(late) < 2.0);
        assert_eq!(decay.rebase(late).to_bits(), 1.0_f64.to_bits(), "it is not due again");
    }
}
