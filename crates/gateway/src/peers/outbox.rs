//! What became of requests at workers which publish nothing, until the other gateways have taken it.
//!
//! Requests only append here, and only while somebody reads. Each reader has its own place; one that is slow loses the oldest words, and
//! is told how many: the buffer never grows with its slowness.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use warmroute_routing::{BookingId, Prompt, Usage, WorkerId};

/// Words that are kept: those of four seconds at a thousand requests a second, three for each.
const MOST_WORDS: usize = 12_288;
/// Blocks that they may have together: 2 MB.
const MOST_BLOCKS: usize = 1 << 18;
/// Of a longer prompt only the beginning is told: a million tokens in blocks of 16.
pub(super) const LONGEST_PROMPT: usize = 1 << 16;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It was sent to a worker, for the first time or to another one.
    Sent(WorkerId, Prompt),
    /// Its prompt was read.
    Read,
    /// It has ended; what the worker reported, if it was answered and it did.
    Ended(Option<Usage>),
}

impl Word {
    fn blocks(&self) -> usize {
        match self {
            Self::Sent(_, prompt) => prompt.blocks.len(),
            Self::Read | Self::Ended(_) => 0,
        }
    }
}

/// What was sent lately.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    readers: AtomicUsize,
    /// Held for as long as it takes to append or to copy some pointers.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the oldest that is kept.
    first: u64,
    words: VecDeque<(BookingId, Word)>,
    blocks: usize,
}

impl Outbox {
    /// A request was sent to a worker; its prompt is asked for only if somebody reads. Returns whether anything was kept.
    pub(crate) fn sent(&self, id: BookingId, to: WorkerId, prompt: impl FnOnce() -> Option<Prompt>) -> bool {
        if self.readers.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let Some(mut prompt) = prompt().filter(|prompt| !prompt.blocks.is_empty()) else { return false };
        if prompt.blocks.len() > LONGEST_PROMPT {
            prompt.blocks = prompt.blocks[..LONGEST_PROMPT].into();
        }
        self.kept.lock().add(id, Word::Sent(to, prompt));
        true
    }

    /// This became of a request whose prompt was kept.
    pub(crate) fn became(&self, id: BookingId, word: Word) {
        if self.readers.load(Ordering::Relaxed) > 0 {
            self.kept.lock().add(id, word);
        }
    }

    /// Begins to read, with what comes from now on.
    pub(crate) fn read(self: &Arc<Self>) -> Reader {
        self.readers.fetch_add(1, Ordering::Relaxed);
        let next = self.kept.lock().end();
        Reader { outbox: Arc::clone(self), next }
    }
}

impl Kept {
    fn end(&self) -> u64 {
        self.first + self.words.len() as u64
    }

    fn add(&mut self, id: BookingId, word: Word) {
        self.blocks += word.blocks();
        self.words.push_back((id, word));
        while self.words.len() > MOST_WORDS || self.blocks > MOST_BLOCKS {
            let Some((_, oldest)) = self.words.pop_front() else { break };
            self.blocks -= oldest.blocks();
            self.first += 1;
        }
    }
}

/// One that reads. While there is one, what comes is kept.
#[derive(Debug)]
pub(crate) struct Reader {
    outbox: Arc<Outbox>,
    next: u64,
}

impl Reader {
    /// The next words, of some `blocks` blocks or fewer together and at least one if there is any, and how many were lost before them.
    pub(crate) fn take(&mut self, blocks: usize) -> (Vec<(BookingId, Word)>, u64) {
        let kept = self.outbox.kept.lock();
        let lost = kept.first.saturating_sub(self.next);
        self.next += lost;
        let from = usize::try_from(self.next - kept.first).unwrap_or(usize::MAX);
        let mut before = 0;
        let fits = |(_, word): &&(BookingId, Word)| {
            let fits = before < blocks;
            before += word.blocks();
            fits
        };
        let taken: Vec<_> = kept.words.iter().skip(from).take_while(fits).cloned().collect();
        drop(kept);
        self.next += taken.len() as u64;
        (taken, lost)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.outbox.readers.fetch_sub(1, Ordering::Relaxed) == 1 {
            let mut kept = self.outbox.kept.lock();
            // The numbers go on: another may have begun to read meanwhile.
            *kept = Kept { first: kept.end(), ..Kept::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::BlockHash;
    use warmroute_routing::Request;

    use super::*;

    fn prompt(first: u64, blocks: usize) -> Option<Prompt> {
        let blocks: Vec<_> = (first..first + blocks as u64).map(BlockHash).collect();
        Some(Prompt::of(&Request::new(BlockHash(0), &blocks)))
    }

    fn sends(outbox: &Outbox, number: u64, blocks: usize) {
        assert!(outbox.sent(BookingId(number), WorkerId(0), || prompt(number, blocks)));
    }

    fn numbers(taken: &[(BookingId, Word)]) -> Vec<u64> {
        taken.iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn nothing_is_kept_while_nobody_reads() {
        let outbox = Arc::new(Outbox::default());
        assert!(!outbox.sent(BookingId(0), WorkerId(0), || panic!("it is not even asked for")));
        outbox.became(BookingId(0), Word::Read);
        let mut reader = outbox.read();
        sends(&outbox, 1, 3);
        drop(outbox.read());
        assert_eq!(numbers(&reader.take(100).0), [1], "one reader is left");
        sends(&outbox, 2, 3);
        drop(reader);
        let left = outbox.kept.lock().words.len();
        assert_eq!(left, 0);
        assert_eq!(outbox.read().take(100), (Vec::new(), 0));
    }

    #[test]
    fn each_reader_gets_each_word_once_in_order_and_some_at_a_time() {
        let outbox = Arc::new(Outbox::default());
        let mut one = outbox.read();
        (0..5).for_each(|number| sends(&outbox, number, 10));
        let mut other = outbox.read();
        sends(&outbox, 5, 1_000);
        outbox.became(BookingId(0), Word::Ended(None));
        assert_eq!(numbers(&one.take(25).0), [0, 1, 2]);
        assert_eq!(numbers(&one.take(25).0), [3, 4, 5], "one more begins within the bound");
        assert_eq!(one.take(25), (vec![(BookingId(0), Word::Ended(None))], 0));
        assert_eq!(numbers(&one.take(25).0), [0; 0]);
        assert_eq!(numbers(&other.take(2_000).0), [5, 0]);
    }

    #[test]
    fn a_slow_reader_loses_the_oldest_and_the_bounds_hold() {
        for (blocks, most) in [(1, MOST_WORDS), (1_000, MOST_BLOCKS / 1_000)] {
            let outbox = Arc::new(Outbox::default());
            let mut reader = outbox.read();
            (0..20_000).for_each(|number| sends(&outbox, number, blocks));
            assert_eq!(outbox.kept.lock().words.len(), most);
            let (taken, lost) = reader.take(1);
            assert_eq!((lost, numbers(&taken)), (20_000 - most as u64, vec![20_000 - most as u64]));
            assert_eq!(reader.take(usize::MAX).0.len(), most - 1);
        }
    }

    #[test]
    fn of_an_endless_prompt_the_beginning_is_told() {
        let outbox = Arc::new(Outbox::default());
        let mut reader = outbox.read();
        sends(&outbox, 0, LONGEST_PROMPT + 9);
        assert_eq!(reader.take(1).0[0].1.blocks(), LONGEST_PROMPT);
    }
}
