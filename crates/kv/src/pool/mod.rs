//! The block pool: a bounded cache of blocks in which requests share the prefixes they have in common.
//!
//! A running request holds a [`Lease`]: first the *shared* blocks it found or has finished, which never change again,
//! then *private* ones it is still filling. Sealing turns the first private block into a shared one; letting the lease
//! go leaves the shared blocks behind for the next request. What no lease holds is evicted, least recently used leaf
//! first, when room is needed.
//!
//! Three facts carry everything:
//! - A lease holds every block of its prefix, so a block is never held by fewer leases than any of its children.
//! - A lease is let go from its last block to its first, so in the order of recency a block always comes *before* its
//!   parent: the oldest block is a leaf, and eviction takes O(1) without looking at children.
//! - A hit needs the same hash, the same content and the same parent slot. By induction the whole prefix is equal, so
//!   a colliding hash can cost a hit but never an answer.

mod entry;
mod lease;
mod recency;
#[cfg(test)]
mod tests;
mod touch;
mod withdrawn;

use std::collections::VecDeque;

use self::entry::{Entry, Generation, NONE, Shared};
pub use self::lease::{Lease, Slot};
use self::recency::{Recency, Section};
use self::withdrawn::{WITHDRAWN, Withdrawal};
use crate::event::{self, KvEvent, KvEvents};
use crate::hash::BlockHash;
use crate::names::{AHEAD, NameTable};
use crate::units::Blocks;

/// A bounded cache of blocks. `C` is what a block's state was computed from (the worker: its tokens); two blocks are
/// the same only if their contents are. A pool that only keeps accounts uses `()`.
#[derive(Clone, Debug)]
pub struct BlockPool<C = ()> {
    capacity: usize,
    /// Where each shared block of the current generation is.
    names: NameTable,
    /// What each slot that was ever used holds; grows up to the capacity and no further.
    entries: Vec<Entry<C>>,
    free: Vec<Slot>,
    /// Blocks that are found no more and whole still, in the order in which they go.
    withdrawn: VecDeque<Withdrawal>,
    /// Shared blocks that no lease holds, oldest first.
    idle: Recency,
    /// Counts clears: a lease of an older generation holds blocks that are no longer to be found.
    generation: Generation,
}

/// The pool has fewer blocks to give than were asked for: leases hold the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the block pool can give {available} more blocks, not {wanted}; hint: wait until a running request ends"
)]
pub struct PoolFull {
    /// Blocks asked for.
    pub wanted: Blocks,
    /// Blocks that are free or could be evicted.
    pub available: Blocks,
}

impl<C: PartialEq> BlockPool<C> {
    /// An empty pool that never holds more than `capacity` blocks.
    pub fn new(capacity: Blocks) -> Self {
        Self {
            capacity: capacity.get(),
            names: NameTable::default(),
            entries: Vec::new(),
            free: Vec::new(),
            withdrawn: VecDeque::new(),
            idle: Recency::default(),
            generation: Generation::MIN,
        }
    }

    /// The hard bound on blocks held, shared and private together.
    pub fn capacity(&self) -> Blocks {
        Blocks::of(self.capacity)
    }

    /// Shared blocks that a new request could find.
    pub fn resident(&self) -> Blocks {
        Blocks::of(self.names.len())
    }

    /// About the bytes of heap in use, as asked of the allocator; contents that own memory count with their own size only.
    pub fn bytes(&self) -> usize {
        let entries = self.entries.capacity() * size_of::<Entry<C>>();
        let withdrawn = self.withdrawn.capacity() * size_of::<Withdrawal>();
        self.names.bytes() + entries + withdrawn + self.free.capacity() * size_of::<Slot>()
    }

    /// Blocks that leases could still get: free ones and those that may be evicted.
    pub fn available(&self) -> Blocks {
        Blocks::of((self.capacity + self.idle.len()).saturating_sub(self.used()))
    }

    /// What the shared block of this name was computed from, if there is one.
    pub fn content(&self, block: BlockHash) -> Option<&C> {
        self.shared(self.find(block)?).map(|shared| &shared.content)
    }

    /// How many leading blocks of `chain` are here. Changes nothing, not even recency.
    pub fn longest_prefix<'a>(&self, chain: impl IntoIterator<Item = (BlockHash, &'a C)>) -> usize
    where
        C: 'a,
    {
        self.walk(chain).count()
    }

    /// A lease on the longest prefix of `chain` that is here; the blocks after it are the caller's to compute.
    pub fn begin<'a>(&mut self, root: BlockHash, chain: impl IntoIterator<Item = (BlockHash, &'a C)>) -> Lease
    where
        C: 'a,
    {
        let chain = chain.into_iter();
        // Mostly all of it is here in the end.
        let mut slots = Vec::with_capacity(chain.size_hint().0);
        slots.extend(self.walk(chain));
        self.cut(&slots);
        slots.iter().for_each(|slot| self.entries[slot.index()].pins += 1);
        let last = slots.last().and_then(|slot| self.shared(*slot)).map_or(root, |block| block.hash);
        Lease::new(slots, root, last, self.generation)
    }

    /// Adds `blocks` private blocks to the lease, evicting idle ones where nothing is free. All or nothing.
    ///
    /// # Errors
    /// If running requests hold too much; the lease is as it was.
    pub fn grow(&mut self, lease: &mut Lease, blocks: usize, events: &mut KvEvents) -> Result<(), PoolFull> {
        let available = self.available();
        if blocks > available.get() {
            return Err(PoolFull { wanted: Blocks::of(blocks), available });
        }
        self.make_room(blocks, events);
        for _ in 0..blocks {
            let slot = self.allocate();
            self.entries[slot.index()].pins = 1;
            lease.slots.push(slot);
        }
        Ok(())
    }

    /// Makes the lease's first private block, now filled with the state of `content`, a shared one named `hash`.
    ///
    /// Where an equal block is shared already, the lease takes that one and its own slot is freed: the returned slot
    /// is the one to read from now on. After a colliding hash, or a [`clear`](Self::clear) since the lease began, the
    /// block and those after it stay private: nobody else will find them.
    ///
    /// # Panics
    /// If the lease has no private block left that was not sealed before.
    pub fn seal(&mut self, lease: &mut Lease, hash: BlockHash, content: C, events: &mut KvEvents) -> Slot {
        let place = lease.named;
        let own = lease.slots[place];
        lease.named += 1;
        if lease.shared < place || lease.generation != self.generation {
            return own;
        }
        let parent = place.checked_sub(1).map_or(NONE, |before| lease.slots[before]);
        match self.find(hash) {
            None => {
                self.names.insert(hash, own.0);
                self.share(own, Shared { hash, content, parent, generation: self.generation });
                event::stored(events, lease.last, &[hash]);
            }
            Some(slot) if self.is(slot, &content, parent) => {
                self.pin(slot);
                self.unpin(own);
                lease.slots[place] = slot;
            }
            Some(_) => return own,
        }
        lease.shared += 1;
        lease.last = hash;
        lease.slots[place]
    }

    /// Ends a lease: its shared blocks stay, idle once nobody else holds them; its private ones are freed.
    pub fn release(&mut self, lease: Lease) {
        for slot in lease.slots.into_iter().rev() {
            self.unpin(slot);
        }
    }

    /// Shortens the lease to its first `blocks` blocks; the others are let go as by [`release`](Self::release).
    pub fn truncate(&mut self, lease: &mut Lease, blocks: usize) {
        while lease.slots.len() > blocks {
            let slot = lease.slots.pop().expect("it is longer than `blocks`");
            self.unpin(slot);
        }
        lease.named = lease.named.min(blocks);
        if lease.shared > blocks {
            lease.shared = blocks;
            let last = blocks.checked_sub(1).and_then(|before| self.shared(lease.slots[before]));
            lease.last = last.map_or(lease.root, |block| block.hash);
        }
    }

    /// Forgets every block. Those held by a lease live on, unseen, until it ends.
    pub fn clear(&mut self, events: &mut KvEvents) {
        // After four billion clears a lease of the first generation would have to be still there to notice.
        let next = self.generation.checked_add(1).filter(|next| *next != WITHDRAWN);
        self.generation = next.unwrap_or(Generation::MIN);
        self.names = NameTable::default();
        while let Some(oldest) = self.idle.oldest() {
            self.idle.remove(&mut self.entries, oldest);
            self.vacate(Slot(oldest));
        }
        while let Some(gone) = self.withdrawn.pop_front() {
            self.vacate(gone.slot);
        }
        events.push(KvEvent::Cleared);
    }

    /// Changes the bound. Idle blocks over it are evicted at once, held ones as soon as they are let go and room is
    /// asked for. Only for pools that keep accounts: slots may lie beyond a bound that was lowered.
    pub fn resize(&mut self, capacity: Blocks, events: &mut KvEvents) {
        self.capacity = capacity.get();
        self.make_room(0, events);
    }

    fn used(&self) -> usize {
        self.entries.len() - self.free.len() - self.withdrawn.len()
    }

    fn walk<'a, 's>(
        &'s self,
        chain: impl IntoIterator<Item = (BlockHash, &'a C), IntoIter: 's>,
    ) -> impl Iterator<Item = Slot> + 's
    where
        C: 'a,
        'a: 's,
    {
        let (mut parent, mut next) = (NONE, NONE);
        chain.into_iter().map_while(move |(hash, content)| {
            // What came in behind a block is mostly what is asked for behind it, and cheaper to look at than to search for.
            let slot = if self.is_named(next, hash) && self.is(next, content, parent) {
                next
            } else {
                self.find(hash).filter(|slot| self.is(*slot, content, parent))?
            };
            (parent, next) = (slot, self.entries[slot.index()].next);
            Some(slot)
        })
    }

    fn shared(&self, slot: Slot) -> Option<&Shared<C>> {
        self.entries[slot.index()].shared.as_ref()
    }

    /// Where the shared block of this name is.
    fn find(&self, hash: BlockHash) -> Option<Slot> {
        let named = |slot: &Slot| self.shared(*slot).is_some_and(|block| block.hash == hash);
        self.names.candidates(hash).map(Slot).find(named)
    }

    /// Makes a slot the shared block whose name was filed under it.
    fn share(&mut self, slot: Slot, block: Shared<C>) {
        if block.parent != NONE {
            self.entries[block.parent.index()].next = slot;
        }
        self.entries[slot.index()].shared = Some(block);
    }

    /// Whether this, which may be no slot at all, is where `hash` is to be found.
    fn is_named(&self, slot: Slot, hash: BlockHash) -> bool {
        let block = self.entries.get(slot.index()).and_then(|entry| entry.shared.as_ref());
        block.is_some_and(|block| block.hash == hash && block.generation == self.generation)
    }

    fn is(&self, slot: Slot, content: &C, parent: Slot) -> bool {
        self.shared(slot).is_some_and(|block| block.parent == parent && block.content == *content)
    }

    fn pin(&mut self, slot: Slot) {
        if self.entries[slot.index()].pins == 0 {
            self.idle.remove(&mut self.entries, slot.0);
        }
        self.entries[slot.index()].pins += 1;
    }

    /// Takes those of a prompt's blocks out of the order that are in it, since nobody holds them.
    fn cut(&mut self, slots: &[Slot]) -> Vec<Section> {
        let idle = slots.iter().filter(|slot| self.entries[slot.index()].pins == 0);
        let sections = Recency::sections(&self.entries, idle.map(|slot| slot.0));
        sections.iter().for_each(|section| self.idle.cut(&mut self.entries, *section));
        sections
    }

    fn unpin(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot.index()];
        entry.pins -= 1;
        if entry.pins > 0 {
            return;
        }
        match &entry.shared {
            Some(block) if block.generation == self.generation => {
                self.idle.push_newest(&mut self.entries, slot.0)
            }
            _ => self.vacate(slot),
        }
    }

    /// Evicts what it takes to have room for `blocks` more, as far as leases allow.
    fn make_room(&mut self, blocks: usize, events: &mut KvEvents) {
        let over = (self.used() + blocks).saturating_sub(self.capacity);
        if over > 0 {
            self.evict(over, events);
        }
    }

    /// A slot with nothing in it. The caller has made room.
    fn allocate(&mut self) -> Slot {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        if self.entries.len() >= self.capacity
            && let Some(gone) = self.withdrawn.pop_front()
        {
            self.entries[gone.slot.index()] = Entry::VACANT;
            return gone.slot;
        }
        debug_assert!(self.entries.len() < self.capacity, "room was made before");
        let slot = Slot(u32::try_from(self.entries.len()).expect("a capacity is counted in u32"));
        self.entries.push(Entry::VACANT);
        slot
    }

    /// Drops so many least recently used leaves, or all that no lease holds.
    fn evict(&mut self, count: usize, events: &mut KvEvents) {
        let mut gone = Vec::with_capacity(count.min(self.idle.len()));
        while let Some(oldest) = self.idle.oldest().filter(|_| gone.len() < count) {
            self.idle.remove(&mut self.entries, oldest);
            gone.push(self.shared(Slot(oldest)).expect("only shared blocks are idle").hash);
            self.vacate(Slot(oldest));
        }
        let slots = &self.free[self.free.len() - gone.len()..];
        for (names, slots) in gone.chunks(AHEAD).zip(slots.chunks(AHEAD)) {
            self.names.look_ahead(names);
            names.iter().zip(slots).for_each(|(name, slot)| self.names.remove(*name, slot.0));
        }
        event::removed(events, &gone);
    }

    fn vacate(&mut self, slot: Slot) {
        self.entries[slot.index()] = Entry::VACANT;
        self.free.push(slot);
    }
}
