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
    /// How many requests hold the cached prefix that ends with this block.
    holders: HashMap<BlockHash, u32, BuildHasherDefault<AlreadyHashed>>,
}

impl Footing {
    /// A request was sent.
    pub(crate) fn add(&mut self, booking: &Booking) {
        self.context += booking.context();
        self.own += booking.context() - booking.overlap;
        let Some(end) = booking.overlap_end else { return };
        let holders = self.holders.entry(end).or_default();
        *holders += 1;
        if *holders == 1 {
            self.shared += booking.overlap;
        }
    }

    /// It has ended.
    pub(crate) fn remove(&mut self, booking: &Booking) {
        self.context -= booking.context();
        self.own -= booking.context() - booking.overlap;
        let Some(end) = booking.overlap_end else { return };
        let Some(holders) = self.holders.get_mut(&end) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(&end);
            self.shared -= booking.overlap;
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
