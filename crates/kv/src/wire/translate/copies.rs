//! Which blocks a worker holds, counted copy by copy: a block is there until its last copy is given up.
//!
//! An engine keeps a block once or several times, on each of its data-parallel ranks and in several tiers, and tells of every copy. Two
//! of its hashes may also have one name with us, where it tells blocks apart by something it does not publish. So each hash counts its
//! copies by tier, and each name the hashes that have a copy of the worker's own.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;

use crate::event::{self, KvEvent, KvEvents};
use crate::hash::{AlreadyHashed, BlockHash};
use crate::wire::event::{EngineHash, Tier};

/// Data-parallel ranks of one worker; what comes from further ones is left out. The largest deployments have a few hundred.
const MOST_RANKS: usize = 1024;

type Map<K, V> = HashMap<K, V, BuildHasherDefault<AlreadyHashed>>;

#[derive(Debug)]
pub(super) struct Copies {
    ranks: Vec<(u32, Map<EngineHash, Known>)>,
    held: Held,
    /// Engine hashes known, over all ranks.
    known: usize,
    most: usize,
}

/// One copy, as the engine names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub rank: u32,
    pub hash: EngineHash,
    pub tier: Tier,
}

/// A block by our names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub parent: BlockHash,
    pub name: BlockHash,
}

#[derive(Clone, Debug)]
struct Known {
    block: Named,
    /// By tier.
    copies: [u16; Tier::ALL.len()],
}

/// How many engine hashes hold each block near enough to count.
#[derive(Debug)]
struct Held {
    names: Map<BlockHash, u32>,
    /// The tier farthest from the accelerator of which copies count.
    farthest: Tier,
}

/// There was no room, or no such block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl Copies {
    /// Of at most so many engine hashes; copies in `farthest` and nearer tiers count.
    pub(super) fn new(most: usize, farthest: Tier) -> Self {
        Self { ranks: Vec::new(), held: Held { names: Map::default(), farthest }, known: 0, most }
    }

    /// The same, where copies in `farthest` and nearer tiers count.
    pub(super) fn within(&self, farthest: Tier) -> Self {
        let mut held = Held { names: Map::default(), farthest };
        for known in self.ranks.iter().flat_map(|(_, rank)| rank.values()) {
            if held.counts(known) {
                *held.names.entry(known.block.name).or_default() += 1;
            }
        }
        Self { ranks: self.ranks.clone(), held, known: self.known, most: self.most }
    }

    /// What the block is called that this rank calls so.
    pub(super) fn name(&self, rank: u32, hash: EngineHash) -> Option<BlockHash> {
        self.rank(rank)?.get(&hash).map(|known| known.block.name)
    }

    /// One more copy of a block; refused where as many blocks as may be are known already.
    pub(super) fn add(&mut self, copy: Copy, block: Named, events: &mut KvEvents) -> Result<(), Refused> {
        let full = self.known >= self.most;
        let (rank, held) = self.rank_or_new(copy.rank).ok_or(Refused)?;
        match rank.entry(copy.hash) {
            Entry::Vacant(_) if full => return Err(Refused),
            Entry::Vacant(vacant) => {
                vacant.insert(Known::default_of(block)).add(copy.tier, held, events);
                self.known += 1;
            }
            Entry::Occupied(mut occupied) => {
                let known = occupied.get_mut();
                // The engine calls another block so now; of the old one it will never speak again.
                if known.block.name != block.name {
                    known.give_up(held, events);
                    *known = Known::default_of(block);
                }
                known.add(copy.tier, held, events);
            }
        }
        Ok(())
    }

    /// One more copy of a block that is known; refused if it is not.
    pub(super) fn copy(&mut self, copy: Copy, events: &mut KvEvents) -> Result<(), Refused> {
        let (rank, held) = self.rank_or_new(copy.rank).ok_or(Refused)?;
        rank.get_mut(&copy.hash).ok_or(Refused)?.add(copy.tier, held, events);
        Ok(())
    }

    /// A copy is given up; refused if none is known.
    pub(super) fn remove(&mut self, copy: Copy, events: &mut KvEvents) -> Result<(), Refused> {
        let (rank, held) = self.rank_or_new(copy.rank).ok_or(Refused)?;
        let Entry::Occupied(mut occupied) = rank.entry(copy.hash) else { return Err(Refused) };
        let known = occupied.get_mut();
        let counted = held.counts(known);
        let copies = &mut known.copies[copy.tier as usize];
        *copies = copies.checked_sub(1).ok_or(Refused)?;
        if counted && !held.counts(known) {
            held.let_go(known.block.name, events);
        }
        if known.copies == [0; Tier::ALL.len()] {
            occupied.remove();
            self.known -= 1;
        }
        Ok(())
    }

    /// Everything of this rank is given up.
    pub(super) fn forget(&mut self, rank: u32, events: &mut KvEvents) {
        let Some(place) = self.ranks.iter().position(|(known, _)| *known == rank) else { return };
        let (_, blocks) = self.ranks.swap_remove(place);
        self.known -= blocks.len();
        // The usual worker has one rank, and its index is emptied at once.
        if self.known == 0 {
            return self.clear(events);
        }
        blocks.into_values().for_each(|known| known.give_up(&mut self.held, events));
    }

    pub(super) fn clear(&mut self, events: &mut KvEvents) {
        *self = Self::new(self.most, self.held.farthest);
        events.push(KvEvent::Cleared);
    }

    /// All blocks of which copies count, a block always after its parent.
    pub(super) fn recount(&self) -> KvEvents {
        let mut after: Map<BlockHash, Vec<BlockHash>> = Map::default();
        let mut told: Map<BlockHash, ()> = Map::default();
        let own =
            self.ranks.iter().flat_map(|(_, rank)| rank.values()).filter(|known| self.held.counts(known));
        for Named { parent, name } in own.map(|known| known.block) {
            // Ranks and hashes that share a name share its parent.
            if told.insert(name, ()).is_none() {
                after.entry(parent).or_default().push(name);
            }
        }
        // Those whose parent is a root, or is not held any more.
        let mut next: Vec<Named> = Vec::new();
        for (parent, names) in &after {
            if !self.holds(*parent) {
                next.extend(names.iter().map(|name| Named { parent: *parent, name: *name }));
            }
        }
        // The order of a map says nothing; the same cache is to be told in the same words.
        next.sort_unstable_by_key(|block| (block.parent, block.name));
        let mut events = KvEvents::new();
        while let Some(Named { parent, name }) = next.pop() {
            event::stored(&mut events, parent, &[name]);
            let children = after.get(&name).into_iter().flatten();
            next.extend(children.map(|child| Named { parent: name, name: *child }));
        }
        events
    }

    /// Whether copies of a block count.
    pub(super) fn holds(&self, block: BlockHash) -> bool {
        self.held.names.contains_key(&block)
    }

    /// Different blocks of which copies count.
    pub(super) fn held(&self) -> usize {
        self.held.names.len()
    }

    pub(super) fn bytes(&self) -> usize {
        // Seven eighths of a table's places can be taken, and each has a byte beside it.
        let table = |places: usize, entry: usize| places * (entry + 1) * 8 / 7;
        let known =
            self.ranks.iter().map(|(_, rank)| table(rank.capacity(), size_of::<(EngineHash, Known)>()));
        known.sum::<usize>() + table(self.held.names.capacity(), size_of::<(BlockHash, u32)>())
    }

    fn rank(&self, rank: u32) -> Option<&Map<EngineHash, Known>> {
        self.ranks.iter().find(|(known, _)| *known == rank).map(|(_, blocks)| blocks)
    }

    fn rank_or_new(&mut self, rank: u32) -> Option<(&mut Map<EngineHash, Known>, &mut Held)> {
        let place = match self.ranks.iter().position(|(known, _)| *known == rank) {
            Some(place) => place,
            None if self.ranks.len() < MOST_RANKS => {
                self.ranks.push((rank, Map::default()));
                self.ranks.len() - 1
            }
            None => return None,
        };
        Some((&mut self.ranks[place].1, &mut self.held))
    }
}

impl Known {
    const fn default_of(block: Named) -> Self {
        Self { block, copies: [0; Tier::ALL.len()] }
    }

    fn add(&mut self, tier: Tier, held: &mut Held, events: &mut KvEvents) {
        let counted = held.counts(self);
        let copies = &mut self.copies[tier as usize];
        *copies = copies.saturating_add(1);
        if !counted && held.counts(self) {
            held.take_in(self.block, events);
        }
    }

    fn give_up(&self, held: &mut Held, events: &mut KvEvents) {
        if held.counts(self) {
            held.let_go(self.block.name, events);
        }
    }
}

impl Held {
    /// Whether a copy of it is near enough.
    fn counts(&self, known: &Known) -> bool {
        known.copies[..=self.farthest as usize].iter().any(|copies| *copies > 0)
    }

    fn take_in(&mut self, block: Named, events: &mut KvEvents) {
        let holders = self.names.entry(block.name).or_insert(0);
        *holders += 1;
        if *holders == 1 {
            event::stored(events, block.parent, &[block.name]);
        }
    }

    fn let_go(&mut self, name: BlockHash, events: &mut KvEvents) {
        let Entry::Occupied(mut holders) = self.names.entry(name) else { return };
        *holders.get_mut() -= 1;
        if *holders.get() == 0 {
            holders.remove();
            event::removed(events, &[name]);
        }
    }
}
