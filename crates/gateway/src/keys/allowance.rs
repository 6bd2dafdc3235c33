//! An allowance by the minute that may be overdrawn once: it fills steadily, and what was used is taken off afterwards.
//!
//! What a request will cost in tokens is known only when it is over, so it is let in as long as anything is left and charged at its end.
//! Libraries for rate limits charge before and cannot go into debt, which would turn the limit into a guess of the prompt's length.

use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// At most so much in any minute, and a minute's worth at once.
#[derive(Debug)]
pub(super) struct Allowance {
    per_minute: f64,
    /// Below zero is debt.
    left: f64,
    as_of: Instant,
}

impl Allowance {
    /// A full one.
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        Self { per_minute: per_minute.into(), left: per_minute.into(), as_of: now }
    }

    /// Whether at least `amount` is left; if not, how long it takes until it is.
    pub(super) fn has(&mut self, amount: f64, now: Instant) -> Result<(), Duration> {
        self.fill(now);
        let missing = amount.min(self.per_minute) - self.left;
        if missing <= 0.0 { Ok(()) } else { Err(MINUTE.mul_f64(missing / self.per_minute)) }
    }

    /// Takes `amount` off, whether or not it is left. Debt is bounded by a minute's worth, so that one mistake does not lock a client out.
    pub(super) fn take(&mut self, amount: f64, now: Instant) {
        self.fill(now);
        self.left = (self.left - amount).max(-self.per_minute);
    }

    /// The same use under another limit.
    pub(super) fn resize(&mut self, per_minute: u32, now: Instant) {
        self.fill(now);
        self.left *= f64::from(per_minute) / self.per_minute;
        self.per_minute = per_minute.into();
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.as_of).as_secs_f64() / MINUTE.as_secs_f64();
        self.left = passed.mul_add(self.per_minute, self.left).min(self.per_minute);
        self.as_of = self.as_of.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_may_be_used_at_once_and_comes_back_steadily() {
        let start = Instant::now();
        let mut allowance = Allowance::new(60, start);
        for _ in 0..60 {
            allowance.has(1.0, start).unwrap();
            allowance.take(1.0, start);
        }
        let wait = allowance.has(1.0, start).unwrap_err();
        assert!(wait.abs_diff(Duration::from_secs(1)) < Duration::from_millis(1), "{wait:?}");
        allowance.has(1.0, start + Duration::from_millis(1_001)).unwrap();
        allowance.has(60.0, start + Duration::from_secs(61)).unwrap();
    }

    #[test]
    fn what_costs_more_than_is_left_is_let_in_once_and_paid_off() {
        let start = Instant::now();
        let mut allowance = Allowance::new(100, start);
        allowance.take(150.0, start);
        let wait = allowance.has(1.0, start).unwrap_err();
        assert!(wait > Duration::from_secs(30) && wait < Duration::from_secs(31), "{wait:?}");
        allowance.take(1e9, start);
        assert!(allowance.has(1.0, start).unwrap_err() <= Duration::from_secs(61), "debt is bounded");
    }

    #[test]
    fn another_limit_keeps_the_share_that_is_used() {
        let start = Instant::now();
        let mut allowance = Allowance::new(100, start);
        allowance.take(50.0, start);
        allowance.resize(10, start);
        allowance.has(5.0, start).unwrap();
        allowance.has(6.0, start).unwrap_err();
    }
}
