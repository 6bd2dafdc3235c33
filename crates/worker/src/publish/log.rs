//! The last messages that were published, by number: what is sent from and replayed from.

use std::collections::VecDeque;

use axum::body::Bytes;

/// Messages kept, as vLLM does (`buffer_steps`).
const MOST_MESSAGES: usize = 10_000;
/// Their bytes: mostly a message has some hundred, but the one of a step that reads 8,192 tokens has 40,000.
const MOST_BYTES: usize = 128 << 20;

/// Messages, numbered from 0 without gaps.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The number of the first that is kept.
    first: u64,
    kept: VecDeque<Bytes>,
    bytes: usize,
}

impl Log {
    pub(super) fn append(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.kept.push_back(message);
        while self.kept.len() > MOST_MESSAGES || (self.bytes > MOST_BYTES && self.kept.len() > 1) {
            self.bytes -= self.kept.pop_front().map_or(0, |oldest| oldest.len());
            self.first += 1;
        }
    }

    /// The first message that is kept of those numbered `from` and after, and its number.
    pub(super) fn from(&self, from: u64) -> Option<(u64, Bytes)> {
        let number = from.max(self.first);
        let place = usize::try_from(number - self.first).ok()?;
        Some((number, self.kept.get(place)?.clone()))
    }

    /// The number of the next message.
    pub(super) fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(messages: usize, bytes: usize) -> Log {
        let mut log = Log::default();
        (0..messages).for_each(|_| log.append(vec![0; bytes].into()));
        log
    }

    #[test]
    fn the_last_ten_thousand_messages_are_kept_under_their_numbers() {
        let log = log(12_345, 1);
        assert_eq!(log.from(0).map(|(number, _)| number), Some(2_345));
        assert_eq!(log.from(9_000).map(|(number, _)| number), Some(9_000));
        assert_eq!((log.from(12_345), log.next()), (None, 12_345));
    }

    #[test]
    fn large_messages_are_kept_within_their_bytes_and_one_is_always_kept() {
        let log = log(100, MOST_BYTES / 10);
        assert_eq!(log.from(0).map(|(number, _)| number), Some(90));
        let huge = self::log(3, 2 * MOST_BYTES);
        assert_eq!(huge.from(0).map(|(number, _)| number), Some(2));
    }
}
