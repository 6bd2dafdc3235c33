//! From a block's name to the run that has it: open addressing at 12 bytes a place.
//!
//! One block in a large index costs a place here and a name in its run, so places are packed (name and run together,
//! one cache line a probe) and the load is kept high. The table is cut into shards that grow by a quarter each on its
//! own: no single event waits until millions of places are moved, and no doubled copy stands beside the old one.
//! Probing is linear from a position in order of the mixed name, so growing reads and writes memory in one direction.

use warmroute_kv::BlockHash;

use super::run::RunId;

/// Enough that one shard of an index of ten million blocks grows in about a millisecond; 2 KiB when empty.
const SHARD_BITS: u32 = 6;
/// Grown when more than four fifths of the places are taken, by a quarter.
const FULL: (usize, usize) = (4, 5);
/// Shrunk when less than two fifths are taken, to three fifths.
const SPARSE: (usize, usize) = (2, 5);
const SHRUNK: (usize, usize) = (3, 5);
const PLACES_MIN: usize = 8;
/// Blocks looked ahead of an insertion: enough to keep the memory busy, few enough to stay in the first cache.
const AHEAD: usize = 16;

/// A place: the name in two halves, so that three words pack without padding, and the run or [`RunId::NONE`].
#[derive(Clone, Copy, Debug)]
struct Place {
    name: [u32; 2],
    run: RunId,
}

const VACANT: Place = Place { name: [0; 2], run: RunId::NONE };

impl Place {
    fn new(block: BlockHash, run: RunId) -> Self {
        Self { name: [block.0 as u32, (block.0 >> 32) as u32], run }
    }

    fn block(self) -> BlockHash {
        BlockHash(u64::from(self.name[0]) | u64::from(self.name[1]) << 32)
    }

    fn is_vacant(self) -> bool {
        self.run == RunId::NONE
    }
}

/// Which run has which block.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Shard]>,
    len: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { shards: (0..1 << SHARD_BITS).map(|_| Shard::default()).collect(), len: 0 }
    }
}

impl Table {
    /// Blocks in the table.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The run that has `block`.
    pub(super) fn get(&self, block: BlockHash) -> Option<RunId> {
        let mixed = mix(block);
        let shard = &self.shards[shard_of(mixed)];
        shard.find(block, mixed).map(|at| shard.places[at].run)
    }

    /// Files the leading ones of `blocks` under `run`, up to the first that is filed already. Returns how many.
    pub(super) fn insert_new(&mut self, blocks: &[BlockHash], run: RunId) -> usize {
        let mut filed = 0;
        for group in blocks.chunks(AHEAD) {
            self.touch(group);
            for block in group {
                let mixed = mix(*block);
                if !self.shards[shard_of(mixed)].insert(*block, mixed, run) {
                    self.len += filed;
                    return filed;
                }
                filed += 1;
            }
        }
        self.len += filed;
        filed
    }

    /// Files `blocks`, which are in the table, under another run.
    pub(super) fn refile(&mut self, blocks: &[BlockHash], run: RunId) {
        for block in blocks {
            let mixed = mix(*block);
            let shard = &mut self.shards[shard_of(mixed)];
            let at = shard.find(*block, mixed).expect("a run's blocks are in the table");
            shard.places[at].run = run;
        }
    }

    /// Takes `blocks`, which are in the table, out of it.
    pub(super) fn remove(&mut self, blocks: &[BlockHash]) {
        for block in blocks {
            let mixed = mix(*block);
            self.shards[shard_of(mixed)].remove(*block, mixed);
        }
        self.len -= blocks.len();
    }

    /// Bytes asked of the allocator. Costs one step per shard.
    pub(super) fn bytes(&self) -> usize {
        let places: usize = self.shards.iter().map(|shard| shard.places.len() * size_of::<Place>()).sum();
        places + size_of_val(&*self.shards)
    }

    /// Reads the first place of each block, so that the misses of a group overlap instead of following one another.
    fn touch(&self, group: &[BlockHash]) {
        let mut seen = 0;
        for block in group {
            let mixed = mix(*block);
            let shard = &self.shards[shard_of(mixed)];
            seen ^= shard.places.get(shard.home(mixed)).map_or(0, |place| place.run.0);
        }
        std::hint::black_box(seen);
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (BlockHash, RunId)> {
        let places = self.shards.iter().flat_map(|shard| shard.places.iter());
        places.filter(|place| !place.is_vacant()).map(|place| (place.block(), place.run))
    }
}

/// Names are uniform already where they are our own; others, such as counted ones in tests, are made so.
fn mix(block: BlockHash) -> u64 {
    let product = u128::from(block.0 ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    product as u64 ^ (product >> 64) as u64
}

fn shard_of(mixed: u64) -> usize {
    (mixed >> (64 - SHARD_BITS)) as usize
}

#[derive(Debug, Default)]
struct Shard {
    places: Box<[Place]>,
    taken: usize,
}

impl Shard {
    /// Where the search for a name begins: the bits below the shard's, scaled to the number of places.
    fn home(&self, mixed: u64) -> usize {
        ((u128::from(mixed << SHARD_BITS) * self.places.len() as u128) >> 64) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.places.len() { 0 } else { at + 1 }
    }

    fn find(&self, block: BlockHash, mixed: u64) -> Option<usize> {
        let mut at = self.home(mixed);
        loop {
            let place = self.places.get(at)?;
            if place.is_vacant() {
                return None;
            }
            if place.block() == block {
                return Some(at);
            }
            at = self.after(at);
        }
    }

    /// Returns whether the block was new.
    fn insert(&mut self, block: BlockHash, mixed: u64, run: RunId) -> bool {
        if (self.taken + 1) * FULL.1 > self.places.len() * FULL.0 {
            self.resize((self.places.len() + self.places.len() / 4).max(PLACES_MIN));
        }
        let mut at = self.home(mixed);
        while !self.places[at].is_vacant() {
            if self.places[at].block() == block {
                return false;
            }
            at = self.after(at);
        }
        self.places[at] = Place::new(block, run);
        self.taken += 1;
        true
    }

    /// Closes the gap by moving up whatever may stand there, so that no search meets a false end.
    fn remove(&mut self, block: BlockHash, mixed: u64) {
        let mut gap = self.find(block, mixed).expect("a run's blocks are in the table");
        let mut at = self.after(gap);
        while !self.places[at].is_vacant() {
            let home = self.home(mix(self.places[at].block()));
            if self.distance(home, at) >= self.distance(gap, at) {
                self.places[gap] = self.places[at];
                gap = at;
            }
            at = self.after(at);
        }
        self.places[gap] = VACANT;
        self.taken -= 1;
        if self.taken * SPARSE.1 < self.places.len() * SPARSE.0 {
            let enough = (self.taken * SHRUNK.1 / SHRUNK.0).max(PLACES_MIN);
            self.resize(if self.taken == 0 { 0 } else { enough.min(self.places.len()) });
        }
    }

    /// Steps from one position forward to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.places.len() - from }
    }

    fn resize(&mut self, places: usize) {
        if places == self.places.len() {
            return;
        }
        let old = std::mem::replace(&mut self.places, vec![VACANT; places].into());
        for place in old.iter().filter(|place| !place.is_vacant()) {
            let mut at = self.home(mix(place.block()));
            while !self.places[at].is_vacant() {
                at = self.after(at);
            }
            self.places[at] = *place;
        }
    }
}
