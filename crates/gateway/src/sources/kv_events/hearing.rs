//! What has been heard of one publisher, by its sequence numbers: whether the next message continues, repeats, skips or starts anew.
//!
//! An engine numbers its messages from 0 in every process. Live messages that a replay has told already come in order behind the last
//! live one; a number that is not behind it is of a new process. The last message applied is remembered with a hash of its content: an
//! engine that replays the same message under the same number is the same process, and what was built from it stays.

use std::hash::{DefaultHasher, Hasher};

/// What to make of a live message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is the next one.
    Next,
    /// A replay has told it.
    Known,
    /// Something before it is missing.
    Gap,
    /// The publisher has started anew.
    Restart,
}

/// One message, to be recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub sequence: u64,
    content: u64,
}

impl Mark {
    pub(super) fn of(sequence: u64, payload: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(payload);
        Self { sequence, content: hasher.finish() }
    }
}

/// Where we are with one publisher.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// The last message of this process that was applied, live or replayed.
    applied: Option<Mark>,
    /// The last live number of this connection.
    live: Option<u64>,
    /// The last number that a replay told over this connection: up to it, live messages may repeat.
    replayed: Option<u64>,
}

impl Hearing {
    /// A live message has come.
    pub(super) fn live(&mut self, sequence: u64) -> Heard {
        let before = self.live.replace(sequence);
        if before.is_some_and(|before| sequence <= before) {
            return Heard::Restart;
        }
        self.place(sequence)
    }

    /// How a message of this number stands to what was applied.
    pub(super) fn place(&self, sequence: u64) -> Heard {
        match self.applied {
            Some(_) if self.replayed.is_some_and(|replayed| sequence <= replayed) => Heard::Known,
            Some(applied) if sequence <= applied.sequence => Heard::Restart,
            Some(applied) if sequence > applied.sequence + 1 => Heard::Gap,
            None if sequence > 0 => Heard::Gap,
            Some(_) | None => Heard::Next,
        }
    }

    /// A replay has told this message, or has it and would tell it.
    pub(super) fn replayed(&mut self, sequence: u64) {
        self.replayed = Some(sequence);
    }

    /// A message was applied.
    pub(super) fn applied(&mut self, sequence: u64, payload: &[u8]) {
        self.applied = Some(Mark::of(sequence, payload));
    }

    /// The last message applied.
    pub(super) fn last(&self) -> Option<Mark> {
        self.applied
    }

    /// Nothing is believed any more of what was applied.
    pub(super) fn forget(&mut self) {
        self.applied = None;
        self.replayed = None;
    }

    /// A new connection: numbers may begin anywhere.
    pub(super) fn reconnected(&mut self) {
        self.live = None;
        self.replayed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::Heard::{Gap, Known, Next, Restart};
    use super::*;

    /// What live messages are taken for, where those that can be are applied.
    fn heard(hearing: &mut Hearing, sequences: &[u64]) -> Vec<Heard> {
        let mut hear = |sequence: &u64| {
            let heard = hearing.live(*sequence);
            if heard == Next {
                hearing.applied(*sequence, b"");
            }
            heard
        };
        sequences.iter().map(&mut hear).collect()
    }

    #[test]
    fn messages_in_a_row_follow_each_other_from_zero_on() {
        assert_eq!(heard(&mut Hearing::default(), &[0, 1, 2]), [Next, Next, Next]);
        assert_eq!(heard(&mut Hearing::default(), &[5]), [Gap], "the beginning was missed");
        assert_eq!(heard(&mut Hearing::default(), &[0, 1, 3]), [Next, Next, Gap]);
    }

    #[test]
    fn what_a_replay_told_comes_again_without_harm() {
        let mut hearing = Hearing::default();
        assert_eq!(heard(&mut hearing, &[0, 3]), [Next, Gap]);
        for sequence in 1..=6 {
            hearing.applied(sequence, b"");
            hearing.replayed(sequence);
        }
        assert_eq!(heard(&mut hearing, &[4, 5, 6, 7]), [Known, Known, Known, Next]);
    }

    #[test]
    fn a_number_that_goes_back_is_a_new_process() {
        assert_eq!(heard(&mut Hearing::default(), &[0, 1, 2, 0]), [Next, Next, Next, Restart]);
        assert_eq!(heard(&mut Hearing::default(), &[0, 0]), [Next, Restart]);
        let mut hearing = Hearing::default();
        heard(&mut hearing, &[0, 1, 2]);
        hearing.reconnected();
        assert_eq!(
            heard(&mut hearing, &[1]),
            [Restart],
            "over a new connection too, where nothing was replayed"
        );
    }
}
