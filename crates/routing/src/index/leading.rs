//! The answer to a lookup: how many leading blocks of a prompt each worker holds.
//!
//! Workers drop out of the race in groups, wherever the holders change on the way down the prompt. The groups are kept
//! as sets, so that a lookup costs a few words per change, and whoever makes something of a depth does so once for all of a
//! group. All memory is reused by the next lookup.

use std::sync::Arc;

use super::holders::{Holders, has, slots};
use super::workers::{Slot, Workers};
use crate::request::WorkerId;

/// How many leading blocks of one prompt each worker holds. Filled by [`Index::leading`](super::Index::leading), which
/// allocates nothing when it is given the answer to an earlier lookup.
#[derive(Clone, Debug, Default)]
pub struct Leading {
    /// Who had which slot at the time of the lookup.
    workers: Arc<Workers>,
    /// Those who hold everything so far, a bit per slot.
    racing: Vec<u64>,
    /// The depths at which somebody dropped out, ascending.
    groups: Vec<u32>,
    /// Who dropped out: as many words per group as `racing` has.
    dropped: Vec<u64>,
}

impl Leading {
    /// How many leading blocks `worker` holds.
    pub fn depth_of(&self, worker: WorkerId) -> usize {
        let Some(slot) = self.workers.slot(worker) else { return 0 };
        let mut held = self.groups().filter(|(_, words)| has(words, slot));
        held.next().map_or(0, |(depth, _)| depth as usize)
    }

    /// Slots at the time of the lookup.
    pub(crate) fn slots(&self) -> usize {
        self.workers.slots()
    }

    /// Each depth that somebody has, ascending, and who.
    pub(crate) fn depths(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = Slot>)> {
        self.groups().map(|(depth, words)| (depth as usize, slots_of(words)))
    }

    /// The largest depth of all.
    pub fn deepest(&self) -> usize {
        self.groups.last().map_or(0, |depth| *depth as usize)
    }

    /// Each worker that holds at least the first block, with its depth, deepest first. Workers of equal depth follow
    /// one another in an order that depends on the index's history only.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, usize)> {
        let members = |words| slots_of(words).map(|slot| self.workers.worker(slot));
        self.groups().rev().flat_map(move |(depth, words)| members(words).map(move |id| (id, depth as usize)))
    }

    /// Forgets the last lookup and begins one in which everybody races.
    pub(super) fn begin(&mut self, workers: &Arc<Workers>) {
        if !Arc::ptr_eq(&self.workers, workers) {
            self.workers = Arc::clone(workers);
        }
        self.groups.clear();
        self.dropped.clear();
        self.racing.clear();
        self.racing.resize(workers.slots().div_ceil(64), u64::MAX);
    }

    /// Lets only `holders` race on behind the first `depth` blocks. Returns whether anybody does.
    pub(super) fn meet(&mut self, depth: usize, holders: &Holders) -> bool {
        let held = |index: usize| holders.word(index as u32);
        let drops = self.racing.iter().enumerate().any(|(index, word)| word & !held(index) != 0);
        if !drops {
            return true;
        }
        if depth > 0 {
            self.groups.push(depth as u32);
            self.dropped.extend(self.racing.iter().enumerate().map(|(index, word)| word & !held(index)));
        }
        let mut left = 0;
        for (index, word) in self.racing.iter_mut().enumerate() {
            *word &= held(index);
            left |= *word;
        }
        left != 0
    }

    /// Ends the race: whoever still is in it holds `depth` blocks.
    pub(super) fn finish(&mut self, depth: usize) {
        if depth > 0 && self.racing.iter().any(|word| *word != 0) {
            self.groups.push(depth as u32);
            self.dropped.extend_from_slice(&self.racing);
        }
    }

    fn groups(&self) -> impl DoubleEndedIterator<Item = (u32, &[u64])> {
        self.groups.iter().copied().zip(self.dropped.chunks_exact(self.racing.len().max(1)))
    }
}

fn slots_of(words: &[u64]) -> impl Iterator<Item = Slot> {
    words.iter().enumerate().flat_map(|(index, word)| slots(index, *word))
}
