//! Blocks that were told to be gone and are still whole.
//!
//! Who sends a request to what a cache holds hears late of evictions: the request may be on its way when the blocks go. An owner that can
//! wait *withdraws* blocks ahead of its need. They are told as removed at once and found no more, but stay whole until room is needed, and
//! a request that was sent before anybody could know of it may have them back.
//!
//! Leaves are withdrawn first and overwritten first, so the block before a withdrawn one is here: shared, or withdrawn later.

use std::num::NonZeroU32;

use super::entry::{Generation, NONE};
use super::{BlockPool, Lease, Slot};
use crate::event::{self, KvEvents};
use crate::hash::BlockHash;

/// The generation of what is withdrawn: none that a pool comes to.
pub(super) const WITHDRAWN: Generation = NonZeroU32::MAX;

/// One block, and the mark under which it was withdrawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Withdrawal {
    pub(super) slot: Slot,
    mark: u64,
}

impl<C: PartialEq> BlockPool<C> {
    /// Withdraws the least recently used leaves until `blocks` blocks can be had without an eviction, as far as leases allow. `mark` is the
    /// owner's number for when this was; it never falls.
    pub fn withdraw(&mut self, blocks: usize, mark: u64, events: &mut KvEvents) {
        let lacking = blocks.saturating_sub(self.ready(u64::MAX));
        let mut gone = Vec::with_capacity(lacking.min(self.idle.len()));
        while let Some(oldest) = self.idle.oldest().filter(|_| gone.len() < lacking) {
            self.idle.remove(&mut self.entries, oldest);
            let block = self.entries[oldest as usize].shared.as_mut().expect("only shared blocks are idle");
            block.generation = WITHDRAWN;
            self.names.remove(block.hash, oldest);
            gone.push(block.hash);
            self.withdrawn.push_back(Withdrawal { slot: Slot(oldest), mark });
        }
        event::removed(events, &gone);
    }

    /// Blocks that can be had without evicting one, or taking one whose mark is `before` or higher.
    pub fn ready(&self, before: u64) -> usize {
        let fresh = self.withdrawn.len() - self.withdrawn.partition_point(|one| one.mark < before);
        self.capacity.saturating_sub(self.used() + fresh)
    }

    /// Lengthens a lease by those of the blocks behind it that were withdrawn under the mark `since` or a higher one: they are shared again.
    pub fn restore<'a>(
        &mut self,
        lease: &mut Lease,
        behind: impl IntoIterator<Item = (BlockHash, &'a C)>,
        since: u64,
        events: &mut KvEvents,
    ) where
        C: 'a,
    {
        debug_assert_eq!(lease.shared, lease.slots.len(), "nothing was computed behind what it found");
        for (hash, content) in behind {
            let parent = lease.slots.last().copied().unwrap_or(NONE);
            let wanted =
                |one: &Withdrawal| one.mark >= since && self.is_whole(one.slot, (hash, content), parent);
            let Some(place) = self.withdrawn.iter().position(wanted) else { return };
            // Another block may have its name by now.
            if self.find(hash).is_some() {
                return;
            }
            let Some(Withdrawal { slot, .. }) = self.withdrawn.remove(place) else { return };
            let entry = &mut self.entries[slot.index()];
            entry.pins = 1;
            entry.shared.iter_mut().for_each(|block| block.generation = self.generation);
            self.names.insert(hash, slot.0);
            event::stored(events, lease.last, &[hash]);
            lease.slots.push(slot);
            (lease.shared, lease.named, lease.last) = (lease.slots.len(), lease.slots.len(), hash);
        }
    }

    fn is_whole(&self, slot: Slot, (hash, content): (BlockHash, &C), parent: Slot) -> bool {
        self.shared(slot).is_some_and(|block| block.hash == hash) && self.is(slot, content, parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Blocks;

    #[test]
    fn a_block_whose_name_another_has_by_now_stays_withdrawn() {
        let (mut pool, mut events) = (BlockPool::new(Blocks(4)), KvEvents::new());
        let (root, name) = (BlockHash(0), BlockHash(1));
        let keep = |pool: &mut BlockPool<char>, content, events: &mut KvEvents| {
            let mut lease = pool.begin(root, [(name, &content)]);
            pool.grow(&mut lease, 1, events).unwrap();
            pool.seal(&mut lease, name, content, events);
            pool.release(lease);
        };
        keep(&mut pool, 'a', &mut events);
        pool.withdraw(4, 7, &mut events);
        assert_eq!((pool.resident(), pool.ready(8), pool.ready(7)), (Blocks(0), 4, 3));
        keep(&mut pool, 'b', &mut events);
        let mut lease = pool.begin(root, [(name, &'a')]);
        pool.restore(&mut lease, [(name, &'a')], 0, &mut events);
        assert!(lease.is_empty());
        pool.release(lease);
        assert_eq!(pool.content(name), Some(&'b'));
    }
}
