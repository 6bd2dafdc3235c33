//! From an engine's events to ours: the same cache, with its blocks named by our own hash chain.
//!
//! An engine names blocks by hashes that only it can compute, but tells the tokens of every block that comes in. So a block's
//! [`BlockHash`] is computed here from its parent's and its tokens, and the engine's hash is only remembered, to know what a removal is
//! about. A block counts as held while at least one copy is left, over ranks, tiers and groups; where its beginning is not known it is
//! an *orphan* and left out, since a wrong name would be worse than a missed hit.
//!
//! Bound: at most `most_blocks` engine hashes are remembered, some 60 bytes each; what comes beyond them is counted and left out.

mod copies;
mod naming;
#[cfg(test)]
mod tests;

use self::copies::{Copies, Copy, Named};
pub use self::naming::Naming;
use super::event::{AttentionKind, EngineEvent, Home, Removed, Stored, Tier};
use crate::event::KvEvents;
use crate::hash::BlockHash;
use crate::units::Blocks;

/// Blocks remembered for a worker if nobody says otherwise: 64 million tokens in blocks of 16, more than any accelerator holds.
pub const MOST_BLOCKS: usize = 4 << 20;
/// Groups of layers whose kind is remembered; no model has as many.
const MOST_GROUPS: usize = 64;

/// What was told and could not be used, counted in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Came in after a block that is not known.
    pub orphans: u64,
    /// Were given up though no copy of them was known.
    pub unknown: u64,
    /// Have another number of tokens than ours.
    pub missized: u64,
    /// Came in when as many as may be were remembered already.
    pub beyond: u64,
    /// Belong to groups of layers that do not look at the whole prompt. No loss: the others tell enough.
    pub partial: u64,
}

/// One worker's engine, in our words.
#[derive(Debug)]
pub struct Translator {
    naming: Naming,
    copies: Copies,
    /// The kinds of attention that groups said they have.
    groups: Vec<(u32, AttentionKind)>,
    losses: Losses,
}

impl Translator {
    /// A worker of whose cache nothing is known, with room for `most_blocks` blocks. Copies in all tiers of its own count: to fetch one
    /// costs less than to compute it. What is kept elsewhere is as good for any other worker.
    pub fn new(naming: Naming, most_blocks: usize) -> Self {
        let copies = Copies::new(most_blocks, Tier::Disk);
        Self { naming, copies, groups: Vec::new(), losses: Losses::default() }
    }

    /// Another that knows the same, where only copies in `farthest` and in tiers nearer to the accelerator count.
    #[must_use]
    pub fn within(&self, farthest: Tier) -> Self {
        let (naming, groups) = (self.naming.clone(), self.groups.clone());
        Self { naming, copies: self.copies.within(farthest), groups, losses: self.losses }
    }

    /// What a data-parallel rank of the engine told, appended to `events` as far as it changes what the worker holds.
    pub fn apply(&mut self, rank: u32, event: &EngineEvent<'_>, events: &mut KvEvents) {
        match event {
            EngineEvent::Stored(stored) => self.stored(rank, stored, events),
            EngineEvent::Removed(removed) => self.removed(rank, removed, events),
            EngineEvent::Cleared => self.forget(rank, events),
        }
    }

    /// Nothing is known of this rank any more: it restarted, or was heard with a gap.
    pub fn forget(&mut self, rank: u32, events: &mut KvEvents) {
        self.copies.forget(rank, events);
    }

    /// Nothing is known of the worker any more.
    pub fn forget_all(&mut self, events: &mut KvEvents) {
        self.copies.clear(events);
    }

    /// All that the worker holds, as events that tell it from the beginning. Costs time and memory in proportion.
    pub fn recount(&self) -> KvEvents {
        self.copies.recount()
    }

    /// How many leading blocks of `chain` the worker holds.
    pub fn leading(&self, chain: &[BlockHash]) -> usize {
        chain.iter().take_while(|block| self.copies.holds(**block)).count()
    }

    /// What could not be used so far.
    pub const fn losses(&self) -> Losses {
        self.losses
    }

    /// Different blocks that the worker holds.
    pub fn blocks(&self) -> Blocks {
        Blocks::of(self.copies.held())
    }

    /// About the bytes of heap in use.
    pub fn bytes(&self) -> usize {
        self.copies.bytes()
    }

    fn stored(&mut self, rank: u32, stored: &Stored<'_>, events: &mut KvEvents) {
        let count = stored.blocks.len() as u64;
        if !self.answers_for_prefixes(stored.home, stored.attention) {
            self.losses.partial += count;
            return;
        }
        if stored.tokens.is_empty() {
            return self.copied(rank, stored, events);
        }
        if stored.block_tokens != self.naming.block_tokens() {
            self.losses.missized += count;
            return;
        }
        let parent = match stored.parent {
            None => Some(self.naming.root(stored)),
            Some(parent) => self.copies.name(rank, parent),
        };
        let Some(mut parent) = parent else {
            self.losses.orphans += count;
            return;
        };
        let mut names = self.naming.names(parent, stored);
        let tier = stored.home.tier;
        for (place, hash) in stored.blocks.iter().enumerate() {
            // The decoder has made sure of the tokens of every block.
            let Some(name) = names.next() else { break };
            if self.copies.add(Copy { rank, hash: *hash, tier }, Named { parent, name }, events).is_err() {
                self.losses.beyond += count - place as u64;
                return;
            }
            parent = name;
        }
    }

    /// Known blocks got a copy in another tier.
    fn copied(&mut self, rank: u32, stored: &Stored<'_>, events: &mut KvEvents) {
        for hash in stored.blocks {
            let copy = Copy { rank, hash: *hash, tier: stored.home.tier };
            self.losses.orphans += u64::from(self.copies.copy(copy, events).is_err());
        }
    }

    fn removed(&mut self, rank: u32, removed: &Removed<'_>, events: &mut KvEvents) {
        if !self.answers_for_prefixes(removed.home, None) {
            return;
        }
        for hash in removed.blocks {
            let copy = Copy { rank, hash: *hash, tier: removed.home.tier };
            self.losses.unknown += u64::from(self.copies.remove(copy, events).is_err());
        }
    }

    /// Whether this group's blocks say that a prefix is there: those of full attention do, or the first group if none said what it is.
    fn answers_for_prefixes(&mut self, home: Home, told: Option<AttentionKind>) -> bool {
        let group = home.group.unwrap_or(0);
        let known = self.groups.iter().position(|(known, _)| *known == group);
        if let Some(told) = told {
            match known {
                Some(place) => self.groups[place].1 = told,
                None if self.groups.len() < MOST_GROUPS => self.groups.push((group, told)),
                None => {}
            }
        }
        let kind = told.or_else(|| known.map(|place| self.groups[place].1));
        kind.map_or(group == 0, |kind| kind == AttentionKind::Full)
    }
}
