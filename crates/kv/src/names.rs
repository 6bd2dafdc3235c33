//! From a block's name to the number of what has it: a sorted array with gaps, at 8 bytes a place.
//!
//! Whatever is numbered has the names in full, so a place holds a part of the name only, and whoever searches asks those that
//! it names. Six bits choose a shard and 32 are kept: among ten million blocks, one name in some ten thousand
//! is answered to by a second one. A block's place is proportional to that part, or as soon behind
//! it as the smaller ones before it allow: linear probing that keeps the order. Hence a search ends at the first part
//! that is not smaller, and growing copies from one array to the other in one direction, without searching. To insert a name or to
//! take it out touches one cache line, most of the time, and nothing of what has it.
//!
//! Each shard grows on its own, so that nobody waits until millions of places are moved.

use crate::hash::BlockHash;

/// Enough that one shard of a table of ten million blocks grows in less than a millisecond; 3 KiB when empty.
const SHARD_BITS: u32 = 6;
/// Doubled when more than three quarters of the places are taken.
const FULL: (usize, usize) = (3, 4);
/// Shrunk when less than three tenths are taken, to three fifths.
const SPARSE: (usize, usize) = (3, 10);
const SHRUNK: (usize, usize) = (3, 5);
const ROOM_MIN: usize = 8;
/// Places behind the last that a part is proportional to, for those that the ones before them push on.
const SPILL: usize = 8;
/// Places that nearly every search ends in; not more than [`SPILL`], so that they are always there.
const NEAR: usize = 4;
/// Blocks to [look ahead](NameTable::look_ahead) of: enough to keep the memory busy, few enough to stay in the first cache.
pub(crate) const AHEAD: usize = 32;

/// What is used of a block's name.
#[derive(Clone, Copy)]
struct Key {
    shard: usize,
    part: u32,
}

impl Key {
    /// Our own names are uniform already; others, such as counted ones in tests, must not all go to one place.
    fn of(block: BlockHash, mask: u32) -> Self {
        let mixed = block.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let part = (mixed >> (32 - SHARD_BITS)) as u32 & mask;
        Self { shard: (mixed >> (64 - SHARD_BITS)) as usize, part }
    }

    /// The smallest place that it can have.
    fn floor(self) -> Place {
        Place(u64::from(self.part) << 32)
    }
}

/// A part of a name, and the number in the lower half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64);

/// Ends every search, being the largest.
const VACANT: Place = Place(u64::MAX);

impl Place {
    fn new(key: Key, number: u32) -> Self {
        Self(key.floor().0 | u64::from(number))
    }

    fn number(self) -> u32 {
        self.0 as u32
    }

    /// Whether it may be the place of the block with this key.
    fn may_be(self, key: Key) -> bool {
        self.0 >> 32 == u64::from(key.part) && self != VACANT
    }

    /// Where the search for it begins among `room` places.
    fn home(self, room: usize) -> usize {
        (((self.0 >> 32) * room as u64) >> 32) as usize
    }
}

/// Whose numbers may have which block. `MASK` says which bits of a name's part are used: few in tests, so that blocks answer to each
/// other's names all the time.
#[derive(Clone, Debug)]
pub struct NameTable<const MASK: u32 = { u32::MAX }> {
    shards: Box<[Shard]>,
    len: usize,
}

impl<const MASK: u32> Default for NameTable<MASK> {
    fn default() -> Self {
        Self { shards: (0..1 << SHARD_BITS).map(|_| Shard::default()).collect(), len: 0 }
    }
}

impl<const MASK: u32> NameTable<MASK> {
    /// Blocks in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The numbers that may have `block`, among them the one that has it.
    pub fn candidates(&self, block: BlockHash) -> impl Iterator<Item = u32> {
        let key = Self::key(block);
        let shard = &self.shards[key.shard];
        let places = shard.places.get(shard.search(key.floor())..).unwrap_or_default();
        places.iter().take_while(move |place| place.may_be(key)).map(|place| place.number())
    }

    /// Files `block`, which is not in the table, under `number`.
    pub fn insert(&mut self, block: BlockHash, number: u32) {
        let key = Self::key(block);
        self.shards[key.shard].insert(key, number, true);
        self.len += 1;
    }

    /// Files `block` under `number`, unless it may be in the table already. Returns whether it did.
    pub fn insert_if_new(&mut self, block: BlockHash, number: u32) -> bool {
        let key = Self::key(block);
        let filed = self.shards[key.shard].insert(key, number, false);
        self.len += usize::from(filed);
        filed
    }

    /// Files the first of `blocks`, which is not in the table, under `number`, and those behind it up to the first that
    /// may be in the table already. Returns how many.
    pub fn insert_new(&mut self, blocks: &[BlockHash], number: u32) -> usize {
        let mut filed = 0;
        for group in blocks.chunks(AHEAD) {
            self.look_ahead(group);
            for key in group.iter().copied().map(Self::key) {
                if !self.shards[key.shard].insert(key, number, filed == 0) {
                    self.len += filed;
                    return filed;
                }
                filed += 1;
            }
        }
        self.len += filed;
        filed
    }

    /// Files `blocks`, which are in the table under one number, under another.
    pub fn refile(&mut self, blocks: &[BlockHash], from: u32, to: u32) {
        for key in blocks.iter().copied().map(Self::key) {
            let shard = &mut self.shards[key.shard];
            let at = shard.find(key, from);
            shard.places[at] = Place::new(key, to);
        }
    }

    /// Takes `block`, which is in the table under `number`, out of it.
    pub fn remove(&mut self, block: BlockHash, number: u32) {
        let key = Self::key(block);
        self.shards[key.shard].remove(key, number);
        self.len -= 1;
    }

    /// Takes `blocks`, which are in the table under one number, out of it.
    pub fn remove_all(&mut self, blocks: &[BlockHash], number: u32) {
        for group in blocks.chunks(AHEAD) {
            self.look_ahead(group);
            group.iter().for_each(|block| self.remove(*block, number));
        }
    }

    /// Bytes asked of the allocator. Costs one step per shard.
    pub fn bytes(&self) -> usize {
        let places: usize = self.shards.iter().map(|shard| shard.places.capacity()).sum();
        places * size_of::<Place>() + size_of_val(&*self.shards)
    }

    /// Reads where the search for each of these blocks begins, so that the misses of a group overlap instead of following one another.
    pub fn look_ahead(&self, group: &[BlockHash]) {
        let mut seen = 0;
        for key in group.iter().copied().map(Self::key) {
            let shard = &self.shards[key.shard];
            seen ^= shard.places.get(key.floor().home(shard.room)).map_or(0, |place| place.0);
        }
        std::hint::black_box(seen);
    }

    /// The numbers of all blocks, in no order. For tests.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        let places = self.shards.iter().flat_map(|shard| shard.places.iter());
        places.filter(|place| **place != VACANT).map(|place| place.number())
    }

    fn key(block: BlockHash) -> Key {
        Key::of(block, MASK)
    }
}

#[derive(Clone, Debug, Default)]
struct Shard {
    /// Parts of names ascend, the last place is vacant, and between a home and its place is no gap.
    places: Vec<Place>,
    /// Places that names are spread over; more stand behind them.
    room: usize,
    taken: usize,
}

impl Shard {
    /// The first place behind `floor`'s home that is not smaller.
    fn search(&self, floor: Place) -> usize {
        let home = floor.home(self.room);
        let Some(near) = self.places.get(home..home + NEAR) else { return home };
        // How many of the nearest are smaller is chance: counting costs less than a branch that is guessed wrongly.
        let mut at = home + near.iter().map(|place| usize::from(*place < floor)).sum::<usize>();
        if at < home + NEAR {
            return at;
        }
        while self.places.get(at).is_some_and(|place| *place < floor) {
            at += 1;
        }
        at
    }

    /// The place of a block that is filed under `number`.
    fn find(&self, key: Key, number: u32) -> usize {
        let mut at = self.search(key.floor());
        while self.places[at].number() != number {
            debug_assert!(self.places[at].may_be(key), "the block is in the table");
            at += 1;
        }
        at
    }

    /// Returns whether it was inserted: always if `known_new`, else if no other may be the same block.
    fn insert(&mut self, key: Key, number: u32, known_new: bool) -> bool {
        if self.taken * FULL.1 >= self.room * FULL.0 {
            self.resize((self.room * 2).max(ROOM_MIN));
        }
        let at = self.search(key.floor());
        if self.places[at].may_be(key) && !known_new {
            return false;
        }
        // Those from there on to the next gap make room, each taking the place of the one behind it.
        let mut moved = Place::new(key, number);
        let mut moves = 0;
        for place in &mut self.places[at..] {
            std::mem::swap(place, &mut moved);
            moves += 1;
            if moved == VACANT {
                break;
            }
        }
        self.taken += 1;
        if at + moves == self.places.len() {
            self.spill();
        }
        true
    }

    fn remove(&mut self, key: Key, number: u32) {
        let mut at = self.find(key, number);
        // Those behind it that were pushed on go back by one. What stands at its home stays there, and so does all behind it.
        while let Some(next) = self.places.get(at + 1).filter(|place| **place != VACANT) {
            if next.home(self.room) > at {
                break;
            }
            self.places[at] = *next;
            at += 1;
        }
        self.places[at] = VACANT;
        self.taken -= 1;
        if self.taken == 0 {
            *self = Self::default();
        } else if self.taken * SPARSE.1 < self.room * SPARSE.0 && self.room > ROOM_MIN {
            self.resize((self.taken * SHRUNK.1 / SHRUNK.0).max(ROOM_MIN));
        }
    }

    fn resize(&mut self, room: usize) {
        let old = std::mem::replace(&mut self.places, vec![VACANT; room + SPILL]);
        self.room = room;
        let mut free = 0;
        for place in old {
            // Gaps are copied to where a gap is: a branch on what chance decides would cost more.
            let taken = place != VACANT;
            let at = free.max(if taken { place.home(room) } else { 0 });
            if at + 1 >= self.places.len() {
                self.spill();
            }
            self.places[at] = place;
            free = at + usize::from(taken);
        }
    }

    /// Makes more places behind the others.
    fn spill(&mut self) {
        self.places.reserve_exact(SPILL);
        self.places.resize(self.places.len() + SPILL, VACANT);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few bits of names, so that most answer to each other's.
        #[test]
        fn it_knows_whoever_a_plain_map_knows(steps in proptest::collection::vec((0_u64..200, any::<bool>()), 0..600)) {
            let mut table = NameTable::<{ 0b11 << 30 }>::default();
            let mut naive = BTreeMap::new();
            for (number, (name, again)) in steps.into_iter().enumerate() {
                let (block, number) = (BlockHash(name), number as u32);
                match naive.remove(&block) {
                    Some(had) if again => {
                        table.refile(&[block], had, number);
                        naive.insert(block, number);
                    }
                    Some(had) => table.remove(block, had),
                    None => {
                        let unlike_any = table.candidates(block).next().is_none();
                        prop_assert_eq!(table.insert_if_new(block, number), unlike_any);
                        if !unlike_any {
                            table.insert(block, number);
                        }
                        naive.insert(block, number);
                    }
                }
                prop_assert_eq!(table.len(), naive.len());
                prop_assert!(naive.iter().all(|(block, number)| table.candidates(*block).any(|one| one == *number)));
            }
            let mut numbers: Vec<_> = table.numbers().collect();
            let mut expected: Vec<_> = naive.into_values().collect();
            numbers.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(numbers, expected);
        }
    }
}
