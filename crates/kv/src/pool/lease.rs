//! What one running request holds of the pool.

use super::Generation;
use crate::hash::BlockHash;

/// Where a block lives: an index below the pool's capacity, at which the pool's owner keeps the block's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(super) u32);

impl Slot {
    /// The slot as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The blocks of one running request, in prompt order: shared ones, then private ones.
///
/// It must be given back to the pool it came from: dropped instead, it would keep its blocks held for ever, since a lease
/// cannot reach its pool.
#[derive(Debug)]
#[must_use = "a lease that is not released keeps its blocks for ever"]
pub struct Lease {
    pub(super) slots: Vec<Slot>,
    /// Leading blocks that are shared.
    pub(super) shared: usize,
    /// Leading blocks that were found or sealed, whether or not sealing could share them.
    pub(super) named: usize,
    /// The name of the last shared block, or the root.
    pub(super) last: BlockHash,
    pub(super) root: BlockHash,
    /// The pool's generation when the lease began.
    pub(super) generation: Generation,
}

impl Lease {
    pub(super) fn new(slots: Vec<Slot>, root: BlockHash, last: BlockHash, generation: Generation) -> Self {
        let found = slots.len();
        Self { slots, shared: found, named: found, last, root, generation }
    }

    /// Where the blocks are, in prompt order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// How many leading blocks are final: found in the cache or sealed since. The next seal is about the one after.
    pub fn sealed(&self) -> usize {
        self.named
    }

    /// How many blocks the request holds.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it holds none at all.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
