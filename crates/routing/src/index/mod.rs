//! Who holds how many leading blocks of a prompt, as far as KV events tell: exactly, holes included.
//!
//! A block counts for a worker only if the worker holds every block before it: an engine cannot use what follows a
//! hole. Blocks are kept in *runs*: consecutive blocks that the same set of workers holds. Since a block's name says
//! everything about what comes before it, a lookup compares one name per run, its last, and intersects the holders of
//! the runs on its way: it costs runs, not blocks times holders, and needs to know nothing of branches.
//!
//! What is relied on: a block's name determines its whole prefix, up to a collision of 64 bits. Events that contradict
//! this may cost hits or claim hits that are none, for the blocks concerned; nothing else.
//!
//! Memory: 8 bytes a block at a load between three and eight tenths in the [table](warmroute_kv::NameTable), 8 in its run, and about 80 a
//! run. Whoever else holds the block costs nothing more.

mod coverage;
mod holders;
mod leading;
mod run;
mod sequence;
mod workers;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use warmroute_kv::{BlockHash, Blocks, KvEvent};

use self::coverage::Coverage;
pub use self::leading::Leading;
use self::run::RunId;
pub(crate) use self::workers::Slot;
use self::workers::Workers;
use crate::request::WorkerId;

/// The fleet's caches, as told.
#[derive(Debug, Default)]
pub struct Index {
    coverage: Coverage,
    workers: Arc<Workers>,
    /// How many blocks each worker holds, by slot.
    held: Vec<u32>,
}

impl Index {
    /// Blocks held by at least one worker.
    pub fn len(&self) -> usize {
        self.coverage.table.len()
    }

    /// Whether no worker holds anything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many blocks one worker holds.
    pub fn held_by(&self, worker: WorkerId) -> Blocks {
        self.slot_of(worker).map_or(Blocks::ZERO, |slot| self.held_in(slot))
    }

    /// Where `worker` is among those that hold something: for whoever asks about it often. It has its slot until it is
    /// forgotten.
    pub(crate) fn slot_of(&self, worker: WorkerId) -> Option<Slot> {
        self.workers.slot(worker)
    }

    /// How many blocks the worker in this slot holds.
    pub(crate) fn held_in(&self, slot: Slot) -> Blocks {
        Blocks(self.held[slot.0 as usize])
    }

    /// About the bytes of heap in use, as asked of the allocator. Costs no walk over the blocks.
    pub fn bytes(&self) -> usize {
        self.coverage.bytes() + self.workers.bytes() + self.held.capacity() * size_of::<u32>()
    }

    /// Takes in what `worker` told. Telling twice changes nothing.
    pub fn apply(&mut self, worker: WorkerId, event: &KvEvent) {
        match event {
            KvEvent::Stored { parent, blocks } => self.store(worker, *parent, blocks),
            KvEvent::Removed { blocks } => self.remove(worker, blocks),
            KvEvent::Cleared => self.forget(worker),
        }
    }

    /// Drops everything that `worker` holds. Costs a step per run and the worker's blocks.
    pub fn forget(&mut self, worker: WorkerId) {
        let Some(slot) = self.workers.slot(worker) else { return };
        for id in 0..self.coverage.runs.places() {
            let held = self.coverage.runs.get(RunId(id)).filter(|run| run.holders.contains(slot));
            if let Some(len) = held.map(|run| run.len()) {
                self.coverage.take(RunId(id), 0..len, slot);
            }
        }
        Arc::make_mut(&mut self.workers).remove(worker);
        self.held[slot.0 as usize] = 0;
        self.held.truncate(self.workers.slots());
        self.held.shrink_to(self.workers.slots());
    }

    /// Finds how many leading blocks of `chain` each worker holds.
    pub fn leading(&self, chain: &[BlockHash], into: &mut Leading) {
        into.begin(&self.workers);
        let mut depth = 0;
        // A chain enters each run at its first block: whatever stands before another block stands before it in the chain.
        while let Some((id, matching)) = self.coverage.runs.entered(&chain[depth..]) {
            if !into.meet(depth, &self.coverage.runs[id].holders) {
                break;
            }
            depth += matching;
        }
        into.finish(depth);
    }

    fn store(&mut self, worker: WorkerId, mut parent: BlockHash, mut blocks: &[BlockHash]) {
        if blocks.is_empty() {
            return;
        }
        let slot = self.slot(worker);
        while let Some(first) = blocks.first() {
            let count = match self.coverage.find(*first) {
                Some(place) => self.store_known(slot, place, blocks),
                None => {
                    let added = self.coverage.add(parent, blocks, slot);
                    self.held[slot.0 as usize] += added as u32;
                    added
                }
            };
            parent = blocks[count - 1];
            blocks = &blocks[count..];
        }
    }

    /// Stores the leading ones of `blocks` that a run has, which has the first at `from`. Returns how many.
    fn store_known(&mut self, slot: Slot, (id, from): (RunId, usize), blocks: &[BlockHash]) -> usize {
        let run = &self.coverage.runs[id];
        let count = run.matching(from, blocks);
        if !run.holders.contains(slot) {
            self.coverage.give(id, from..from + count, slot);
            self.held[slot.0 as usize] += count as u32;
        } else if from == 0 {
            // What was stored just before may have filled the hole before this run.
            self.coverage.settle(id);
        }
        count
    }

    fn remove(&mut self, worker: WorkerId, mut blocks: &[BlockHash]) {
        let Some(slot) = self.workers.slot(worker) else { return };
        while let Some(last) = blocks.first() {
            let found = self.coverage.find(*last);
            let Some((id, at)) = found.filter(|(id, _)| self.coverage.runs[*id].holders.contains(slot))
            else {
                blocks = &blocks[1..];
                continue;
            };
            let run = &self.coverage.runs[id];
            let upwards = run.blocks.as_slice()[..=at].iter().rev();
            let count = upwards.zip(blocks).take_while(|(own, told)| own == told).count();
            self.coverage.take(id, at + 1 - count..at + 1, slot);
            self.held[slot.0 as usize] -= count as u32;
            blocks = &blocks[count..];
        }
    }

    fn slot(&mut self, worker: WorkerId) -> Slot {
        if let Some(slot) = self.workers.slot(worker) {
            return slot;
        }
        let slot = Arc::make_mut(&mut self.workers).add(worker);
        self.held.resize(self.workers.slots(), 0);
        slot
    }
}
