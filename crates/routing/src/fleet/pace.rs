//! How long a worker takes to read a prompt token, learned from its first tokens.
//!
//! Each first token says: so many tokens were before it and in it, and it took so long. A worker's pace is the ratio of
//! the two sums, which forget slowly. A worker that has told little is taken for as fast as the fleet.

use std::time::Duration;

/// A small GPU's pace, before anybody has told anything.
const FIRST_GUESS_S: f64 = 1e-4;
/// A first token older than so many others of its worker counts for less than 1/e.
const MEMORY: f64 = 64.0;
/// The fleet's pace counts as much as this many tokens of a worker's own evidence.
const TRUST_TOKENS: f64 = 20_000.0;

/// Sums of evidence.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    tokens: f64,
    seconds: f64,
}

impl Pace {
    /// It took `seconds` to read `tokens`.
    pub(crate) fn learn(&mut self, tokens: f64, took: Duration) {
        let keep = 1.0 - 1.0 / MEMORY;
        self.tokens = keep.mul_add(self.tokens, tokens);
        self.seconds = keep.mul_add(self.seconds, took.as_secs_f64());
    }

    /// Seconds a token, where `like` is the pace of the whole fleet.
    pub(crate) fn token_s(&self, like: f64) -> f64 {
        TRUST_TOKENS.mul_add(like, self.seconds) / (TRUST_TOKENS + self.tokens)
    }

    /// Seconds a token, where nothing else is known.
    pub(crate) fn fleet_token_s(&self) -> f64 {
        if self.tokens > 0.0 { self.token_s(self.seconds / self.tokens) } else { FIRST_GUESS_S }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_as_fast_as_the_fleet_until_it_has_shown_its_own_pace() {
        let mut slow = Pace::default();
        assert_eq!(slow.token_s(5e-5), 5e-5);
        for _ in 0..40 {
            slow.learn(4_000.0, Duration::from_millis(400));
        }
        assert!((slow.token_s(5e-5) - 1e-4).abs() < 1e-5, "{}", slow.token_s(5e-5));
    }

    #[test]
    fn an_old_pace_is_forgotten() {
        let mut pace = Pace::default();
        for millis in [[100; 300], [400; 300]].concat() {
            pace.learn(1_000.0, Duration::from_millis(millis));
        }
        assert!((pace.fleet_token_s() - 4e-4).abs() < 1e-5, "{pace:?}");
    }
}
