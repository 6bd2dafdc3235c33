//! Prompts that a worker has been sent and has not read: the work before a new one.
//!
//! A worker reads one prompt after another. The one in front is taken to be read at the worker's learned speed since the
//! last one was done, so that the backlog shrinks between first tokens too; it never shrinks by more than that prompt,
//! however long its first token takes. Where no first token will be told of (an answer that is not streamed), the clock
//! alone says when a prompt has been read.

use std::collections::VecDeque;

use warmroute_kv::Tokens;

use crate::request::BookingId;
use crate::time::Time;

/// The unread prompts of one worker, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    entries: VecDeque<Entry>,
    total: Tokens,
    /// When the worker began with the prompt in front.
    since: Time,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    booking: BookingId,
    /// Prompt tokens to be computed.
    uncached: Tokens,
    /// Whether its first token will be told of.
    tells: bool,
}

impl Backlog {
    /// A prompt was sent.
    pub(crate) fn push(&mut self, booking: BookingId, uncached: Tokens, tells: bool, now: Time) {
        if self.entries.is_empty() {
            self.since = now;
        }
        self.entries.push_back(Entry { booking, uncached, tells });
        self.total += uncached;
    }

    /// A prompt was read, or is not to be read any more; one that is not here changes nothing.
    pub(crate) fn remove(&mut self, booking: BookingId, now: Time) {
        let Some(place) = self.entries.iter().position(|entry| entry.booking == booking) else { return };
        if place == 0 {
            self.since = now;
        }
        if let Some(entry) = self.entries.remove(place) {
            self.total -= entry.uncached;
        }
    }

    /// How many prompts there are.
    pub(crate) fn prompts(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// All of it, as if nothing of the prompt in front had been read.
    pub(crate) const fn total(&self) -> Tokens {
        self.total
    }

    /// What is left of it by now, in tokens, for a worker that takes `token_s` seconds a token.
    pub(crate) fn remaining(&self, now: Time, token_s: f64) -> f64 {
        let mut read = now.since(self.since).as_secs_f64() / token_s;
        let mut remaining = self.total.as_f64();
        for entry in &self.entries {
            let uncached = entry.uncached.as_f64();
            remaining -= uncached.min(read);
            read -= uncached;
            if entry.tells || read <= 0.0 {
                break;
            }
        }
        remaining.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN_S: f64 = 1e-3;

    fn backlog(tells: bool) -> Backlog {
        let mut backlog = Backlog::default();
        backlog.push(BookingId(1), Tokens(1_000), tells, Time::from_millis(100));
        backlog.push(BookingId(2), Tokens(500), tells, Time::from_millis(200));
        backlog
    }

    fn remaining(backlog: &Backlog, at_ms: u64) -> f64 {
        backlog.remaining(Time::from_millis(at_ms), TOKEN_S).round()
    }

    #[test]
    fn the_prompt_in_front_is_read_by_the_clock_and_no_other() {
        let mut backlog = backlog(true);
        assert_eq!(remaining(&backlog, 600), 1_000.0, "500 of the first 1,000 tokens have been read");
        assert_eq!(
            remaining(&backlog, 9_000),
            500.0,
            "the second has not begun while the first tells nothing"
        );
        backlog.remove(BookingId(1), Time::from_millis(9_000));
        assert_eq!(remaining(&backlog, 9_100), 400.0);
        assert_eq!(backlog.total(), Tokens(500));
    }

    #[test]
    fn without_first_tokens_the_clock_alone_empties_it() {
        let backlog = backlog(false);
        assert_eq!(remaining(&backlog, 1_300), 300.0);
        assert_eq!(remaining(&backlog, 9_000), 0.0);
    }

    #[test]
    fn a_prompt_that_is_taken_back_leaves_the_one_in_front_alone() {
        let mut backlog = backlog(true);
        backlog.remove(BookingId(2), Time::from_millis(600));
        backlog.remove(BookingId(2), Time::from_millis(700));
        assert_eq!(remaining(&backlog, 700), 400.0);
    }
}
