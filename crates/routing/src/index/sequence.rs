//! Block names in a row that grows and shrinks at both ends.
//!
//! Contiguous, unlike a ring: a run is compared and searched as one slice. Room at the front is opened when something
//! is put there; both ends grow by a quarter, so that putting single blocks costs amortised constant time and a row
//! wastes little. It gives memory back when more than half is unused.

use warmroute_kv::BlockHash;

/// Rows this short are not worth moving to save memory.
const SLACK: usize = 4;

/// Consecutive block names.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    names: Vec<BlockHash>,
    /// Unused room before the first name.
    start: usize,
}

impl Sequence {
    pub(super) fn new(blocks: &[BlockHash]) -> Self {
        Self { names: blocks.to_vec(), start: 0 }
    }

    pub(super) fn as_slice(&self) -> &[BlockHash] {
        &self.names[self.start..]
    }

    pub(super) fn append(&mut self, blocks: &[BlockHash]) {
        if self.names.capacity() - self.names.len() < blocks.len() {
            self.names.reserve_exact(blocks.len().max(self.names.len() / 4 + 1));
        }
        self.names.extend_from_slice(blocks);
    }

    pub(super) fn prepend(&mut self, blocks: &[BlockHash]) {
        if self.start < blocks.len() {
            let room = blocks.len().max(self.as_slice().len() / 4 + 1);
            let mut names = Vec::with_capacity(room + self.as_slice().len());
            names.resize(room, BlockHash(0));
            names.extend_from_slice(self.as_slice());
            (self.names, self.start) = (names, room);
        }
        self.start -= blocks.len();
        self.names[self.start..self.start + blocks.len()].copy_from_slice(blocks);
    }

    /// Drops the first `count` names.
    pub(super) fn advance(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.names.len());
        self.fit();
    }

    /// Keeps the first `count` names.
    pub(super) fn truncate(&mut self, count: usize) {
        self.names.truncate(self.start + count);
        self.fit();
    }

    /// Bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        self.names.capacity() * size_of::<BlockHash>()
    }

    fn fit(&mut self) {
        let len = self.as_slice().len();
        if self.names.capacity() > 2 * len + SLACK {
            *self = Self { names: self.as_slice().to_vec(), start: 0 };
        }
    }
}
