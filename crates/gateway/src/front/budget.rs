//! The budget of retries: a share of all requests, and a floor for when there are few.
//!
//! A fleet that fails because it is overloaded fails for good if every failure is asked again. So a retry costs one token; every request
//! brings a share of one, and so does time. Tokens are saved up to a bound, for the moment in which a worker dies with all it had.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use warmroute_routing::Chance;

/// Retries that can be saved up: a worker that dies takes no more requests with it than an engine runs at once.
const MOST_SAVED: f64 = 1024.0;
/// Retries a second whatever the number of requests.
const FLOOR_PER_S: f64 = 10.0;
/// What the floor has saved up when the gateway starts.
const AT_START: f64 = 10.0 * FLOOR_PER_S;

/// Tokens for retries; shared by all lanes.
#[derive(Debug)]
pub(crate) struct Budget(Mutex<Saved>);

#[derive(Clone, Copy, Debug)]
struct Saved {
    tokens: f64,
    as_of: Instant,
}

impl Budget {
    /// With what the floor makes in a few seconds.
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Saved { tokens: AT_START, as_of: now }))
    }

    /// So many requests have come, `percent` of which may be retries.
    pub(super) fn deposit(&self, percent: u32) {
        let saved = &mut *self.0.lock();
        saved.tokens = (saved.tokens + f64::from(percent) / 100.0).min(MOST_SAVED);
    }

    /// Takes a retry, if there is one left.
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        let saved = &mut *self.0.lock();
        let passed = now.saturating_duration_since(saved.as_of).as_secs_f64();
        saved.as_of = saved.as_of.max(now);
        saved.tokens = passed.mul_add(FLOOR_PER_S, saved.tokens).min(MOST_SAVED);
        let left = saved.tokens >= 1.0;
        saved.tokens -= if left { 1.0 } else { 0.0 };
        left
    }
}

/// The wait before the same worker is asked a second time: long enough for a process to come back, short beside a prompt.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long to wait before the same worker is asked once more after `attempts`. Random, or all that failed together would come back
/// together.
pub(super) fn pause(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    let full = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
    // Every `RandomState` has other keys, which is all the chance that is needed here.
    let chance = Chance::new(RandomState::new().hash_one(attempts)).unit();
    full.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_requests_once_the_floor_is_used_up() {
        let now = Instant::now();
        let budget = Budget::new(now);
        let mut retries = (0..).take_while(|_| budget.withdraw(now)).count();
        assert_eq!(retries, 100);
        for _ in 0..1_000 {
            budget.deposit(20);
            retries += usize::from(budget.withdraw(now));
        }
        assert!((298..=300).contains(&retries), "{retries}");
    }

    #[test]
    fn the_floor_comes_back_with_time_and_no_more_is_saved_than_the_bound() {
        let now = Instant::now();
        let budget = Budget::new(now);
        while budget.withdraw(now) {}
        let later = now + Duration::from_secs(1);
        assert_eq!((0..).take_while(|_| budget.withdraw(later)).count(), 10);
        let much_later = now + Duration::from_secs(86_400);
        assert_eq!((0..).take_while(|_| budget.withdraw(much_later)).count(), 1024);
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_are_never_all_the_same() {
        for (attempts, longest) in [(1, 50), (2, 100), (3, 200), (9, 1_000), (1_000, 1_000)] {
            let longest = Duration::from_millis(longest);
            let pauses: Vec<_> = (0..64).map(|_| pause(attempts)).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }
}
