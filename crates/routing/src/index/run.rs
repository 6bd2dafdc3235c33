//! A run: consecutive blocks, each the parent of the next, that the same workers hold; and where runs are kept.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Index;

use warmroute_kv::{BlockHash, NameTable};

use super::holders::Holders;
use super::sequence::Sequence;

/// Bits of a name's part that are left in use: few in tests, so that runs answer to each other's names all the time.
const PART_MASK: u32 = if cfg!(test) { 0b111 << 29 } else { u32::MAX };

/// Which runs may have which block.
pub(super) type Table = NameTable<PART_MASK>;

/// A run's place among all runs. Reused when the run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RunId(pub(super) u32);

impl RunId {
    /// No run.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// Consecutive blocks with equal holders. Never empty while it is filed. One cache line: a lookup that matches the
/// whole run reads nothing else of it.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Run {
    /// The block before the first.
    pub(super) parent: BlockHash,
    pub(super) blocks: Sequence,
    pub(super) holders: Holders,
    /// Perhaps a run that continues this one. Only a hint: whoever follows it checks the parent.
    pub(super) next: RunId,
}

const _: () = assert!(size_of::<Run>() == 64);

const VACANT: Holders = Holders::Word { index: 0, bits: 0 };

impl Run {
    pub(super) fn new(parent: BlockHash, blocks: &[BlockHash], holders: Holders) -> Self {
        Self { parent, blocks: Sequence::new(blocks), holders, next: RunId::NONE }
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn first(&self) -> Option<BlockHash> {
        self.blocks.as_slice().first().copied()
    }

    /// How many blocks of `chain` the run has, from its own block at `from` on. Names say everything about what comes
    /// before them, so where two sequences agree in one place they agree in all places before it.
    pub(super) fn matching(&self, from: usize, chain: &[BlockHash]) -> usize {
        let most = chain.len().min(self.len() - from);
        // Most runs match as a whole, which the copy of the last name tells without a step to the heap.
        let whole = most == self.len() - from;
        if whole && self.blocks.last() == chain.get(most - 1).copied() {
            return most;
        }
        let (own, chain) = (&self.blocks.as_slice()[from..from + most], &chain[..most]);
        if own.last() == chain.last() {
            return most;
        }
        // The first place where they differ lies in `low..=high`.
        let (mut low, mut high) = (0, most - 1);
        while low < high {
            let middle = (low + high) / 2;
            if own[middle] == chain[middle] { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Where `block` is. Events mostly speak of the ends.
    pub(super) fn position(&self, block: BlockHash) -> Option<usize> {
        let own = self.blocks.as_slice();
        if self.first() == Some(block) {
            return Some(0);
        }
        own.iter().rposition(|name| *name == block)
    }

    /// Takes the first `count` blocks away.
    pub(super) fn drain_front(&mut self, count: usize) -> Vec<BlockHash> {
        let drained = self.blocks.as_slice()[..count].to_vec();
        self.parent = drained.last().copied().unwrap_or(self.parent);
        self.blocks.advance(count);
        drained
    }

    /// Takes the last `count` blocks away.
    pub(super) fn drain_back(&mut self, count: usize) -> Vec<BlockHash> {
        let left = self.len() - count;
        let drained = self.blocks.as_slice()[left..].to_vec();
        self.blocks.truncate(left);
        drained
    }

    fn bytes(&self) -> usize {
        self.blocks.bytes() + self.holders.bytes()
    }
}

/// All runs, by id.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// A vacant place has a run without blocks.
    places: Vec<Run>,
    /// Places that were vacated, lowest first so that the last ones can be given back. May name places that are gone
    /// or taken again: what is drawn is checked.
    vacated: BinaryHeap<Reverse<RunId>>,
    /// By their first blocks. That is where lookups enter runs, so they need this small table only.
    heads: Table,
    /// Bytes asked of the allocator by the runs themselves.
    heap_bytes: usize,
}

impl Index<RunId> for Runs {
    type Output = Run;

    fn index(&self, id: RunId) -> &Run {
        &self.places[id.0 as usize]
    }
}

impl Runs {
    /// Places, vacant ones among them.
    pub(super) fn places(&self) -> u32 {
        self.places.len() as u32
    }

    /// The run at a place that may be vacant or not there.
    pub(super) fn get(&self, id: RunId) -> Option<&Run> {
        self.places.get(id.0 as usize).filter(|run| run.len() > 0)
    }

    /// The run that begins with the first of `chain`, and how many of its blocks `chain` goes on with.
    pub(super) fn entered(&self, chain: &[BlockHash]) -> Option<(RunId, usize)> {
        // A run that matches in one place matches in all places before it, so this finds out who begins so as well.
        let matching = |id: RunId| (id, self[id].matching(0, chain));
        self.heads.candidates(*chain.first()?).map(RunId).map(matching).find(|(_, count)| *count > 0)
    }

    /// The place the next run will have.
    pub(super) fn vacant(&mut self) -> RunId {
        while let Some(Reverse(id)) = self.vacated.peek().copied() {
            if self.places.get(id.0 as usize).is_some_and(|run| run.len() == 0) {
                return id;
            }
            self.vacated.pop();
        }
        RunId(self.places())
    }

    /// Keeps `run`, at the place that `vacant` named.
    pub(super) fn add(&mut self, run: Run) -> RunId {
        let id = self.vacant();
        self.heap_bytes += run.bytes();
        self.heads.insert_new(run.first().as_slice(), id.0);
        match self.places.get_mut(id.0 as usize) {
            Some(place) => *place = run,
            None => {
                if self.places.len() == self.places.capacity() {
                    self.places.reserve_exact(self.places.len() / 4 + 4);
                }
                self.places.push(run);
            }
        }
        id
    }

    /// Ends a run.
    pub(super) fn remove(&mut self, id: RunId) -> Run {
        let vacant = Run::new(BlockHash(0), &[], VACANT);
        let run = std::mem::replace(&mut self.places[id.0 as usize], vacant);
        self.heap_bytes -= run.bytes();
        self.heads.remove_all(run.first().as_slice(), id.0);
        self.vacated.push(Reverse(id));
        while self.places.pop_if(|run| run.len() == 0).is_some() {}
        if self.places.is_empty() {
            self.vacated.clear();
        }
        if self.places.capacity() > 2 * self.places.len() + 4 {
            self.places.shrink_to(self.places.len() + self.places.len() / 4);
            self.vacated.shrink_to_fit();
        }
        run
    }

    /// Changes a run, and perhaps its first block.
    pub(super) fn edit_head<R>(&mut self, id: RunId, change: impl FnOnce(&mut Run) -> R) -> R {
        self.heads.remove_all(self[id].first().as_slice(), id.0);
        let result = self.edit(id, change);
        self.heads.insert_new(self[id].first().as_slice(), id.0);
        result
    }

    /// Changes a run, but not its first block.
    pub(super) fn edit<R>(&mut self, id: RunId, change: impl FnOnce(&mut Run) -> R) -> R {
        let run = &mut self.places[id.0 as usize];
        let before = run.bytes();
        let result = change(run);
        self.heap_bytes = self.heap_bytes + run.bytes() - before;
        result
    }

    /// Bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        let places = self.places.capacity() * size_of::<Run>();
        places + self.heads.bytes() + self.vacated.capacity() * size_of::<RunId>() + self.heap_bytes
    }

    #[cfg(test)]
    pub(super) fn heads(&self) -> usize {
        self.heads.len()
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (RunId, &Run)> {
        (0..self.places()).map(RunId).filter_map(|id| Some((id, self.get(id)?)))
    }
}
