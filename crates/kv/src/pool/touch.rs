//! A request that comes and goes at once, as shadows see it: what a lease would do, for the whole prompt in a few sweeps.
//!
//! Where nobody computes anything between a lease's beginning and its end, nobody has to be told who holds what: found blocks are taken
//! out of the order and put back as the newest, and the others come in as if they had been held.

use super::entry::{NONE, Shared};
use super::recency::Recency;
use super::{BlockPool, Slot};
use crate::event::{self, KvEvents};
use crate::hash::BlockHash;
use crate::names::AHEAD;

impl BlockPool<()> {
    /// What a worker's cache does when a request with this prompt comes and goes: the blocks found are used again, the
    /// others come in at the cost of the oldest. Returns how many leading blocks were found.
    ///
    /// A prompt larger than the pool leaves only as much of its beginning as there is room for.
    pub fn touch(&mut self, root: BlockHash, chain: &[BlockHash], events: &mut KvEvents) -> usize {
        let mut slots = Vec::with_capacity(chain.len());
        slots.extend(self.walk(chain.iter().map(|hash| (*hash, &()))));
        let found = slots.len();
        // Those that nobody else holds are taken out of the order, so that they are not evicted meanwhile.
        let idle = slots.iter().filter(|slot| self.entries[slot.index()].pins == 0);
        let sections = Recency::sections(&self.entries, idle.map(|slot| slot.0));
        sections.iter().for_each(|section| self.idle.cut(&mut self.entries, *section));
        let room = (chain.len() - found).min(self.available().get());
        self.make_room(room, events);
        self.add(&mut slots, &chain[..found + room]);
        let last = found.checked_sub(1).map_or(root, |last| chain[last]);
        event::stored(events, last, &chain[found..slots.len()]);
        // As leases are let go: from the last block to the first.
        for slot in slots[found..].iter().rev() {
            self.idle.push_newest(&mut self.entries, slot.0);
        }
        sections.into_iter().rev().for_each(|section| self.idle.append(&mut self.entries, section));
        found
    }

    /// Takes in what of `chain` has no slot yet, up to the first block whose name is taken. The caller has made room.
    fn add(&mut self, slots: &mut Vec<Slot>, chain: &[BlockHash]) {
        for group in chain[slots.len()..].chunks(AHEAD) {
            self.names.look_ahead(group);
            for hash in group {
                // Another block's: the hashes collide, and nothing behind this one would be found.
                if self.find(*hash).is_some() {
                    return;
                }
                let (slot, parent) = (self.allocate(), slots.last().copied().unwrap_or(NONE));
                self.share(slot, Shared { hash: *hash, content: (), parent, generation: self.generation });
                slots.push(slot);
            }
        }
    }
}
