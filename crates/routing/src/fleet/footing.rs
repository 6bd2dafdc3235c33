//! What the requests in flight on one worker need of its cache.
//!
//! Prefixes that several of them share are in memory once, and that once is what fills a cache; but each answer reads its
//! whole context, so that for time they count for everybody. What is shared is known roughly, by the place up to which a prompt
//! was cached when it was sent: requests that found the same prefix share it.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use warmroute_kv::{AlreadyHashed, BlockHash, Tokens};

use crate::booking::Booking;

/// Sums over the requests in flight.
#[derive(Debug, Default)]
pub(crate) struct Footing {
    /// Tokens that nobody shares, as far as is known: what has to be computed, answers included.
    own: Tokens,
    /// Tokens of cached prefixes, each counted once.
    shared: Tokens,
    /// Tokens of prompts and answers, counted for everybody.
    context: Tokens,
    /// Who holds the cached prefix that ends with this block.
    prefixes: HashMap<BlockHash, Prefix, BuildHasherDefault<AlreadyHashed>>,
}

/// A cached prefix that requests in flight hold.
#[derive(Debug)]
struct Prefix {
    requests: u32,
    /// What it was counted as when the first of them came. Later ones may know it at another length: tokens per byte are
    /// learned, and a promise reaches further than the index.
    tokens: Tokens,
}

impl Footing {
    /// A request was sent.
    pub(crate) fn add(&mut self, booking: &Booking) {
        self.context += booking.context();
        self.own += booking.context() - booking.overlap;
        let Some(end) = booking.overlap_end else { return };
        let prefix = self.prefixes.entry(end).or_insert_with(|| {
            self.shared += booking.overlap;
            Prefix { requests: 0, tokens: booking.overlap }
        });
        prefix.requests += 1;
    }

    /// It has ended.
    pub(crate) fn remove(&mut self, booking: &Booking) {
        self.context -= booking.context();
        self.own -= booking.context() - booking.overlap;
        let Some(end) = booking.overlap_end else { return };
        let Some(prefix) = self.prefixes.get_mut(&end) else { return };
        prefix.requests -= 1;
        if prefix.requests == 0 {
            self.shared -= prefix.tokens;
            self.prefixes.remove(&end);
        }
    }

    /// Tokens of KV state needed in all, what is shared counted once.
    pub(crate) fn active(&self) -> Tokens {
        self.own + self.shared
    }

    /// Tokens of KV state read, what is shared counted for everybody.
    pub(crate) const fn context(&self) -> Tokens {
        self.context
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Request, WorkerId};
    use crate::scale::Scale;
    use crate::time::Time;

    fn booking(blocks: &[BlockHash], held: usize, overlap: u32) -> Booking {
        let request = Request { output: Tokens(2), ..Request::new(BlockHash(0), blocks) };
        let mut booking = Booking::new(&request, &Scale::default(), WorkerId(0), Time::ZERO);
        booking.overlaps(held, Tokens(overlap));
        booking
    }

    fn blocks(count: u64) -> Vec<BlockHash> {
        (1..=count).map(BlockHash).collect()
    }

    #[test]
    fn a_prefix_that_several_hold_is_in_memory_once_and_read_by_each() {
        let mut footing = Footing::default();
        let one = booking(&blocks(10), 8, 128);
        footing.add(&one);
        footing.add(&booking(&blocks(10), 8, 128));
        assert_eq!(footing.active(), Tokens(128 + 2 * (32 + 1)));
        assert_eq!(footing.context(), Tokens(2 * (160 + 1)));
        footing.remove(&one);
        assert_eq!(footing.active(), Tokens(160 + 1));
    }

    /// Two requests found the same last block and disagreed on how long that prefix is; each left the difference behind.
    #[test]
    fn what_is_held_does_not_leak_when_requests_disagree_on_a_prefix() {
        let (long, short) = (booking(&blocks(40), 10, 576), booking(&blocks(40), 10, 160));
        for order in [[&long, &short], [&short, &long]] {
            let mut footing = Footing::default();
            footing.add(order[0]);
            footing.add(order[1]);
            footing.remove(order[0]);
            footing.remove(order[1]);
            assert_eq!((footing.active(), footing.context()), (Tokens(0), Tokens(0)));
        }
    }
}
