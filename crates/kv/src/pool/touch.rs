//! Requests as shadows see them, whose blocks need not be computed: what leases do block by block, for a whole prompt in a few sweeps.
//!
//! One that comes and goes at once holds nothing that anybody could see: found blocks are taken out of the order and put back as the newest,
//! and the others come in as if they had been held. One that stays has a lease, of which every block is shared from the start.

use super::entry::{NONE, Shared};
use super::{BlockPool, Lease, Slot};
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
        // So that they are not evicted meanwhile.
        let sections = self.cut(&slots);
        let last = found.checked_sub(1).map_or(root, |last| chain[last]);
        self.bring_in(&mut slots, last, &chain[found..], events);
        // As leases are let go: from the last block to the first.
        for slot in slots[found..].iter().rev() {
            self.idle.push_newest(&mut self.entries, slot.0);
        }
        sections.into_iter().rev().for_each(|section| self.idle.append(&mut self.entries, section));
        found
    }

    /// The same for a request that stays: a lease on its prompt, or on as much of its beginning as there is room for, and how many
    /// leading blocks were found.
    pub fn hold(&mut self, root: BlockHash, chain: &[BlockHash], events: &mut KvEvents) -> (Lease, usize) {
        let mut lease = self.begin(root, chain.iter().map(|hash| (*hash, &())));
        let found = lease.len();
        self.lengthen(&mut lease, &chain[found..], events);
        (lease, found)
    }

    /// Takes in `blocks` behind those that a lease from [`hold`](Self::hold) has, as far as there is room.
    ///
    /// After a [`clear`](Self::clear) since the lease began nothing is taken in: it would not be found.
    pub fn lengthen(&mut self, lease: &mut Lease, blocks: &[BlockHash], events: &mut KvEvents) {
        if lease.generation != self.generation {
            return;
        }
        let before = lease.slots.len();
        self.bring_in(&mut lease.slots, lease.last, blocks, events);
        for slot in &lease.slots[before..] {
            self.entries[slot.index()].pins = 1;
        }
        let added = lease.slots.len() - before;
        lease.last = added.checked_sub(1).map_or(lease.last, |last| blocks[last]);
        (lease.shared, lease.named) = (lease.slots.len(), lease.slots.len());
    }

    /// Takes in `blocks` behind `last`, in so far as there is room and up to the first whose name is taken, at the cost of the oldest.
    fn bring_in(
        &mut self,
        slots: &mut Vec<Slot>,
        last: BlockHash,
        blocks: &[BlockHash],
        events: &mut KvEvents,
    ) {
        let room = blocks.len().min(self.available().get());
        self.make_room(room, events);
        let before = slots.len();
        self.add(slots, &blocks[..room]);
        event::stored(events, last, &blocks[..slots.len() - before]);
    }

    /// The same where room was made.
    fn add(&mut self, slots: &mut Vec<Slot>, blocks: &[BlockHash]) {
        slots.reserve(blocks.len());
        for group in blocks.chunks(AHEAD) {
            self.names.look_ahead(group);
            for hash in group {
                let (slot, parent) = (self.allocate(), slots.last().copied().unwrap_or(NONE));
                if !self.names.insert_if_new(*hash, slot.0) {
                    // Another block's: the hashes collide, and nothing behind this one would be found.
                    if self.find(*hash).is_some() {
                        self.free.push(slot);
                        return;
                    }
                    self.names.insert(*hash, slot.0);
                }
                self.share(slot, Shared { hash: *hash, content: (), parent, generation: self.generation });
                slots.push(slot);
            }
        }
    }
}
