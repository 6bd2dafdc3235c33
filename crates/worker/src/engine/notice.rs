//! Evictions are told some time before they happen, so that requests which are under way meanwhile find what they were sent for.
//!
//! Whoever routes by our events hears of an eviction a little later, and its request takes a little to come. Where requests say how much
//! their router had heard, blocks are withdrawn first and overwritten once the notice has passed; before that, a request that was sent in
//! ignorance has them back. While nobody says so, nobody waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// An event's way to a router and a request's way back, on a busy machine. A prompt waits for it that needs more room than lies ready;
/// reading what takes so much room takes ten times as long.
const NOTICE: Duration = Duration::from_millis(10);

/// What was told and has not happened.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// The messages that told it, and when they did.
    told: VecDeque<(u64, Instant)>,
    /// What was told in earlier messages than this may happen.
    before: u64,
    heeded: bool,
}

impl Notices {
    /// Somebody says how much it had heard.
    pub(super) fn heed(&mut self) {
        self.heeded = true;
    }

    /// Whether anybody does.
    pub(super) fn are_heeded(&self) -> bool {
        self.heeded
    }

    /// The message of this number tells of evictions to come.
    pub(super) fn give(&mut self, message: u64, now: Instant) {
        self.told.push_back((message, now));
    }

    /// Evictions that were told in messages before this one may happen now.
    pub(super) fn passed(&mut self, now: Instant) -> u64 {
        while let Some((message, _)) = self.told.pop_front_if(|(_, told)| now.duration_since(*told) >= NOTICE)
        {
            self.before = message + 1;
        }
        self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_may_happen_once_the_notice_has_passed() {
        let (mut notices, now) = (Notices::default(), Instant::now());
        notices.give(3, now);
        notices.give(7, now + NOTICE / 2);
        assert_eq!(notices.passed(now + NOTICE / 2), 0);
        assert_eq!(notices.passed(now + NOTICE), 4);
        assert_eq!(notices.passed(now + 2 * NOTICE), 8);
        assert_eq!(notices.passed(now + 3 * NOTICE), 8);
    }
}
