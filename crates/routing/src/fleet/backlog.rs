//! Prompts that a worker has been sent and has not read: the work before a new one.
//!
//! A worker reads one prompt after another. The one in front is taken to be done after the time that such a prompt takes,
//! by the worker's learned pace, since the one before it was; what is left of that time is left of its work. It never shrinks
//! below nothing, however long its first token takes, and those behind it do not shrink at all. Where no first token will be
//! told of (an answer that is not streamed), the clock alone says when a prompt has been read, and the next one begun: its answer ends later.

use std::collections::VecDeque;
use std::time::Duration;

use warmroute_kv::Tokens;

use crate::request::BookingId;
use crate::time::Time;

/// The unread prompts of one worker, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    entries: VecDeque<Unread>,
    total: Tokens,
    /// When the worker began with the prompt in front.
    since: Time,
}

/// One unread prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread {
    pub(crate) booking: BookingId,
    /// Prompt tokens to be computed.
    pub(crate) uncached: Tokens,
    /// Seconds that takes, if nothing else is in the way.
    pub(crate) takes_s: f64,
    /// Whether its first token will be told of.
    pub(crate) tells: bool,
}

/// The prompt in front and what is behind it: all that has to be known of most backlogs to say what is left of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front {
    /// When the worker began with it.
    since: Time,
    takes_s: f64,
    tells: bool,
    /// Tokens behind it.
    behind: f64,
}

/// What is left to read of a backlog: of the prompt in front, and behind it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Left {
    pub(crate) front_s: f64,
    pub(crate) tokens: f64,
}

impl Front {
    /// Where there is nothing to read, which takes no time and was begun long ago.
    const NOTHING: Self = Self { since: Time::ZERO, takes_s: 0.0, tells: true, behind: 0.0 };

    /// What is left of the backlog by now; nothing, if the prompts behind must be asked as well.
    pub(crate) fn left(&self, now: Time) -> Option<Left> {
        let left_s = self.takes_s - now.seconds_since(self.since);
        // Who has something to read is chance, so there is no branch on it: one guessed wrongly costs more than all of this.
        (self.tells | (left_s > 0.0)).then(|| Left { front_s: left_s.max(0.0), tokens: self.behind })
    }
}

impl Left {
    /// It as the number of tokens that take as long at `token_s` seconds each.
    pub(crate) fn in_tokens(self, token_s: f64) -> f64 {
        self.front_s / token_s + self.tokens
    }
}

impl Backlog {
    /// A prompt was sent.
    pub(crate) fn push(&mut self, unread: Unread, now: Time) {
        if self.entries.is_empty() {
            self.since = now;
        }
        self.total += unread.uncached;
        self.entries.push_back(unread);
    }

    /// A prompt was read, or is not to be read any more; one that is not here changes nothing.
    pub(crate) fn remove(&mut self, booking: BookingId, now: Time) {
        let Some(place) = self.entries.iter().position(|entry| entry.booking == booking) else { return };
        let Some(entry) = self.entries.remove(place) else { return };
        if place == 0 {
            let read = self.since + Duration::try_from_secs_f64(entry.takes_s).unwrap_or(Duration::MAX);
            self.since = if entry.tells { now } else { now.min(read) };
        }
        self.total -= entry.uncached;
    }

    /// Whose prompts they are, oldest first.
    pub(crate) fn bookings(&self) -> impl Iterator<Item = BookingId> + '_ {
        self.entries.iter().map(|entry| entry.booking)
    }

    /// How many prompts there are.
    pub(crate) fn prompts(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// All of it, as if nothing of the prompt in front had been read.
    pub(crate) const fn total(&self) -> Tokens {
        self.total
    }

    /// The prompt in front.
    pub(crate) fn front(&self) -> Front {
        let Some(first) = self.entries.front() else { return Front::NOTHING };
        let behind = (self.total - first.uncached).as_f64();
        Front { since: self.since, takes_s: first.takes_s, tells: first.tells, behind }
    }

    /// What is left of it by now.
    pub(crate) fn left(&self, now: Time) -> Left {
        let mut since_s = now.seconds_since(self.since);
        let mut behind = self.total;
        for entry in &self.entries {
            behind -= entry.uncached;
            let left_s = entry.takes_s - since_s;
            if left_s > 0.0 || entry.tells {
                return Left { front_s: left_s.max(0.0), tokens: behind.as_f64() };
            }
            since_s -= entry.takes_s;
        }
        Left::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN_S: f64 = 1e-3;

    fn backlog(tells: bool) -> Backlog {
        let mut backlog = Backlog::default();
        for (booking, tokens, at_ms) in [(1, 1_000, 100), (2, 500, 200)] {
            // Half a second for each first token, beside its tokens.
            let takes_s = 0.5 + f64::from(tokens) * TOKEN_S;
            let unread = Unread { booking: BookingId(booking), uncached: Tokens(tokens), takes_s, tells };
            backlog.push(unread, Time::from_millis(at_ms));
        }
        backlog
    }

    fn remaining(backlog: &Backlog, at_ms: u64) -> f64 {
        backlog.left(Time::from_millis(at_ms)).in_tokens(TOKEN_S).round()
    }

    #[test]
    fn the_prompt_in_front_is_read_by_the_clock_and_no_other() {
        let mut backlog = backlog(true);
        assert_eq!(
            remaining(&backlog, 600),
            1_500.0,
            "1.0 of 1.5 s are left of the first, and 500 tokens behind it"
        );
        assert_eq!(
            remaining(&backlog, 9_000),
            500.0,
            "the second has not begun while the first tells nothing"
        );
        backlog.remove(BookingId(1), Time::from_millis(9_000));
        assert_eq!(remaining(&backlog, 9_100), 900.0);
        assert_eq!((backlog.total(), backlog.prompts()), (Tokens(500), 1));
    }

    #[test]
    fn without_first_tokens_the_clock_alone_empties_it() {
        let backlog = backlog(false);
        assert_eq!(remaining(&backlog, 1_800), 800.0);
        assert_eq!(remaining(&backlog, 9_000), 0.0);
    }

    #[test]
    fn a_whole_answer_that_ends_does_not_put_off_those_behind_it() {
        for (ends_ms, asked_ms, left) in [(9_000, 9_000, 0.0), (2_000, 2_000, 600.0), (1_000, 1_100, 900.0)] {
            let mut backlog = backlog(false);
            backlog.remove(BookingId(1), Time::from_millis(ends_ms));
            assert_eq!(
                remaining(&backlog, asked_ms),
                left,
                "the first was read at 1,600 ms, or ended at {ends_ms}"
            );
        }
    }

    #[test]
    fn a_prompt_that_is_taken_back_leaves_the_one_in_front_alone() {
        let mut backlog = backlog(true);
        backlog.remove(BookingId(2), Time::from_millis(600));
        backlog.remove(BookingId(2), Time::from_millis(700));
        assert_eq!(remaining(&backlog, 700), 900.0);
    }
}
