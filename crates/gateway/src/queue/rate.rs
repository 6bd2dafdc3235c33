//! How fast a line moves, for telling those who are turned away when to come back.

use std::time::Duration;

use tokio::time::Instant;

/// What was longer ago than this hardly counts.
const MEMORY: Duration = Duration::from_secs(10);
/// Nobody is told to come back sooner: it would only ask again.
const SHORTEST: Duration = Duration::from_secs(1);
/// Nobody is told to stay away longer: the rate was low because nothing was asked, or will be another by then.
const LONGEST: Duration = Duration::from_secs(60);

/// Places served a second, an average that fades.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    per_s: f64,
    as_of: Instant,
}

impl Rate {
    /// Nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { per_s: 0.0, as_of: now }
    }

    /// One was served.
    pub(super) fn served(&mut self, now: Instant) {
        self.per_s = self.at(now) + MEMORY.as_secs_f64().recip();
        self.as_of = self.as_of.max(now);
    }

    /// How long a line of so many takes.
    pub(super) fn takes(&self, count: usize, now: Instant) -> Duration {
        let seconds = count as f64 / self.at(now).max(f64::MIN_POSITIVE);
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
    }

    fn at(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.as_of).as_secs_f64();
        self.per_s * (-passed / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_line_takes_its_length_over_its_rate() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        for _ in 0..600 {
            now += Duration::from_millis(100);
            rate.served(now);
        }
        let wait = rate.takes(50, now).as_secs_f64();
        assert!((4.5..5.5).contains(&wait), "50 at 10 a second took {wait} s");
        assert_eq!(rate.takes(1, now), SHORTEST);
    }

    #[test]
    fn a_line_that_does_not_move_takes_the_longest() {
        let now = Instant::now();
        assert_eq!(Rate::new(now).takes(3, now), LONGEST);
    }
}
