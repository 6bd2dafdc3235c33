//! Who waits for the engine, and what each holds of the cache meanwhile.
//!
//! A prompt's cached beginning is held from its arrival on, not from its turn: whoever sent it here did so for that beginning, and what
//! comes in behind it while it waits is meant for it too. Holds of those who wait yield only where otherwise nobody could go on, the last
//! first.

use std::collections::VecDeque;

use warmroute_kv::{BlockPool, KvEvents, Lease, TokenId};

use super::sequence::{RequestId, Sequence};

pub(super) type Pool = BlockPool<Box<[TokenId]>>;

/// One that waits.
#[derive(Debug)]
struct Waiting<T> {
    sequence: Sequence<T>,
    held: Lease,
}

/// Those that wait, in order of arrival; preempted sequences return to the front.
#[derive(Debug)]
pub(super) struct Line<T> {
    waiting: VecDeque<Waiting<T>>,
    block_tokens: usize,
}

impl<T: Default> Line<T> {
    pub(super) fn new(block_tokens: usize) -> Self {
        Self { waiting: VecDeque::new(), block_tokens }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whose turn comes when `place` others have been, and how many of its blocks are held for it.
    pub(super) fn at(&self, place: usize) -> Option<(&Sequence<T>, usize)> {
        self.waiting.get(place).map(|one| (&one.sequence, one.held.sealed()))
    }

    /// A newcomer. Blocks that were withdrawn when whoever sent it could not know are restored for it.
    pub(super) fn join(&mut self, sequence: Sequence<T>, pool: &mut Pool, events: &mut KvEvents) {
        let mut held = self.found(&sequence, pool);
        if let Some(heard) = sequence.heard {
            let behind = &sequence.reusable(self.block_tokens)[held.sealed()..];
            pool.restore(&mut held, behind.iter().map(|block| (block.hash, &block.tokens)), heard, events);
        }
        self.waiting.push_back(Waiting { sequence, held });
    }

    /// One that had its turn and lost its blocks.
    pub(super) fn rejoin(&mut self, sequence: Sequence<T>, pool: &mut Pool) {
        let held = pool.begin(sequence.root, []);
        self.waiting.push_front(Waiting { sequence, held });
    }

    /// It is somebody's turn.
    pub(super) fn leave(&mut self, place: usize) -> Option<(Sequence<T>, Lease)> {
        self.waiting.remove(place).map(|one| (one.sequence, one.held))
    }

    /// Room for the rest of somebody's tokens.
    pub(super) fn grow(
        &mut self,
        place: usize,
        blocks: usize,
        pool: &mut Pool,
        events: &mut KvEvents,
    ) -> bool {
        self.waiting.get_mut(place).is_some_and(|one| pool.grow(&mut one.held, blocks, events).is_ok())
    }

    /// The first so many hold what has come in since they last looked.
    pub(super) fn look(&mut self, first: usize, pool: &mut Pool) {
        for place in 0..first.min(self.waiting.len()) {
            let found = self.found(&self.waiting[place].sequence, pool);
            pool.release(std::mem::replace(&mut self.waiting[place].held, found));
        }
    }

    /// The last one behind `place` that holds anything lets it go; `false` if none does.
    pub(super) fn yields(&mut self, place: usize, pool: &mut Pool) -> bool {
        let last = self.waiting.iter_mut().skip(place).rfind(|one| !one.held.is_empty());
        last.map(|one| pool.truncate(&mut one.held, 0)).is_some()
    }

    /// Those that are not `wanted` leave.
    pub(super) fn retain(&mut self, wanted: impl Fn(RequestId) -> bool, pool: &mut Pool) {
        for place in (0..self.waiting.len()).rev() {
            if wanted(self.waiting[place].sequence.id) {
                continue;
            }
            if let Some(gone) = self.waiting.remove(place) {
                pool.release(gone.held);
            }
        }
    }

    fn found(&self, sequence: &Sequence<T>, pool: &mut Pool) -> Lease {
        let reusable = sequence.reusable(self.block_tokens);
        pool.begin(sequence.root, reusable.iter().map(|block| (block.hash, &block.tokens)))
    }
}
