//! Block names in a row that grows and shrinks at both ends.
//!
//! Contiguous, unlike a ring: a run is compared and searched as one slice. Room at the front is opened when something
//! is put there; both ends grow by a quarter, so that putting single blocks costs amortised constant time and a row
//! wastes little. It gives memory back when more than half is unused.

use std::ops::Range;

use warmroute_kv::BlockHash;

/// Rows this short are not worth moving to save memory.
const SLACK: usize = 4;

/// Consecutive block names.
#[derive(Debug)]
pub(super) struct Sequence {
    places: Box<[BlockHash]>,
    start: u32,
    end: u32,
    /// A copy of the last name: what a lookup compares, without a step to the heap.
    last: BlockHash,
}

impl Sequence {
    pub(super) fn new(blocks: &[BlockHash]) -> Self {
        let last = blocks.last().copied().unwrap_or(BlockHash(0));
        Self { places: blocks.into(), start: 0, end: blocks.len() as u32, last }
    }

    pub(super) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub(super) fn as_slice(&self) -> &[BlockHash] {
        &self.places[self.taken()]
    }

    pub(super) fn last(&self) -> Option<BlockHash> {
        (self.len() > 0).then_some(self.last)
    }

    pub(super) fn append(&mut self, blocks: &[BlockHash]) {
        let end = self.end as usize;
        if self.places.len() - end < blocks.len() {
            self.open(0, blocks.len().max(self.len() / 4 + 1));
        }
        let end = self.end as usize;
        self.places[end..end + blocks.len()].copy_from_slice(blocks);
        self.end += blocks.len() as u32;
        self.last = blocks.last().copied().unwrap_or(self.last);
    }

    pub(super) fn prepend(&mut self, blocks: &[BlockHash]) {
        if (self.start as usize) < blocks.len() {
            self.open(blocks.len().max(self.len() / 4 + 1), 0);
        }
        self.start -= blocks.len() as u32;
        let start = self.start as usize;
        self.places[start..start + blocks.len()].copy_from_slice(blocks);
        if self.len() == blocks.len() {
            self.last = blocks.last().copied().unwrap_or(self.last);
        }
    }

    /// Drops the first `count` names.
    pub(super) fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.len(), "names that are not there cannot be dropped");
        self.start += count as u32;
        self.fit();
    }

    /// Keeps the first `count` names.
    pub(super) fn truncate(&mut self, count: usize) {
        debug_assert!(count <= self.len(), "names that are not there cannot be kept");
        self.end = self.start + count as u32;
        self.last = self.as_slice().last().copied().unwrap_or(self.last);
        self.fit();
    }

    /// Bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.places)
    }

    fn taken(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Moves to where there is this much room at the front and at the back.
    fn open(&mut self, front: usize, back: usize) {
        let mut places = Vec::with_capacity(front + self.len() + back);
        places.resize(front, BlockHash(0));
        places.extend_from_slice(self.as_slice());
        places.resize(front + self.len() + back, BlockHash(0));
        (self.start, self.end) = (front as u32, (front + self.len()) as u32);
        self.places = places.into();
    }

    fn fit(&mut self) {
        if self.places.len() > 2 * self.len() + SLACK {
            self.open(0, 0);
        }
    }
}
