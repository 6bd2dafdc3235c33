//! A set of marks that is far larger than the nearest caches, and takes a few steps to memory for all marks of a prompt.
//!
//! Marks of one prompt that follow one another stand in one cache line: a *group* of them has the line that its first mark points to.
//! Where prompts part within a group, or groups share a line, it may be full; then a mark stands in the line that it points to itself,
//! or in one behind that. Nothing is taken out but all at once, so a line that has room has never been full, and whoever finds room
//! where a mark would be has searched to the end.
//!
//! Half of a mark's name is kept, which with the line makes some 48 bits: one mark in a hundred million is taken for another, and a
//! prompt for better known than it is. Hence the set cannot grow; it is made as large as it may become.

use std::hint::black_box;

use warmroute_kv::BlockHash;

/// Marks in a group: two groups fill a line.
pub(super) const GROUP: usize = 8;
/// Places in a cache line.
const PLACES: usize = 16;
/// At most so many places of a line are taken on average: the fewer, the fewer marks stand apart from their groups.
const TAKEN: usize = PLACES / 2;
/// Lines beyond what marks take on average: room for more than any one prompt's, so that a search always ends.
const SPARE: usize = 64;
/// Marks an empty place. A mark of which the same is kept is taken for the one beside it.
const EMPTY: u32 = 0;

/// A mark, and the first of its group, which says where the group stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) name: BlockHash,
    pub(super) group: BlockHash,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([u32; PLACES]);

/// The set.
#[derive(Debug, Default)]
pub(super) struct Marks {
    lines: Vec<Line>,
    taken: usize,
}

impl Marks {
    /// Empties the set, and has room for `most` marks.
    pub(super) fn reset(&mut self, most: usize) {
        let lines = most.div_ceil(TAKEN) + SPARE;
        if self.lines.len() == lines {
            // Memory that was in use is at hand; that which is new would take some decision a millisecond.
            self.lines.fill(Line([EMPTY; PLACES]));
        } else {
            self.lines = vec![Line([EMPTY; PLACES]); lines];
        }
        self.taken = 0;
    }

    /// Marks in the set.
    pub(super) fn len(&self) -> usize {
        self.taken
    }

    /// How many it was made for.
    pub(super) fn room(&self) -> usize {
        self.lines.len().saturating_sub(SPARE) * TAKEN
    }

    pub(super) fn contains(&self, mark: Mark) -> bool {
        let kept = kept(mark.name);
        let holds = |line: &Line| line.0.iter().fold(false, |found, place| found | (*place == kept));
        let Some(line) = self.lines.get(self.home(mark.group)) else { return false };
        if holds(line) || line.has_room() {
            return holds(line);
        }
        let mut at = self.home(mark.name);
        loop {
            let line = &self.lines[at];
            if holds(line) || line.has_room() {
                return holds(line);
            }
            at = self.behind(at);
        }
    }

    /// Puts marks of one group into the set, which it has not. It must have been given room before.
    pub(super) fn insert_new(&mut self, group: BlockHash, names: impl Iterator<Item = BlockHash>) {
        let home = self.home(group);
        for (place, name) in (self.lines[home].used()..).zip(names) {
            self.taken += 1;
            match self.lines[home].0.get_mut(place) {
                Some(place) => *place = kept(name),
                None => self.insert_apart(name),
            }
        }
    }

    /// Puts a mark whose group's line is full where it points to itself.
    fn insert_apart(&mut self, name: BlockHash) {
        let mut at = self.home(name);
        loop {
            let used = self.lines[at].used();
            if let Some(place) = self.lines[at].0.get_mut(used) {
                *place = kept(name);
                return;
            }
            at = self.behind(at);
        }
    }

    /// Reads the lines of these marks' groups, so that the steps to memory are taken together.
    pub(super) fn look_ahead(&self, marks: impl Iterator<Item = Mark>) {
        let first = |mark: Mark| self.lines.get(self.home(mark.group)).map_or(EMPTY, |line| line.0[0]);
        black_box(marks.fold(EMPTY, |seen, mark| seen ^ first(mark)));
    }

    /// Bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
    }

    /// Names are uniform already; others, such as counted ones in tests, must not all go to one line.
    fn home(&self, block: BlockHash) -> usize {
        let mixed = block.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mixed) * self.lines.len() as u128) >> 64) as usize
    }

    fn behind(&self, line: usize) -> usize {
        if line + 1 < self.lines.len() { line + 1 } else { 0 }
    }
}

impl Line {
    /// Places are taken in order.
    fn has_room(&self) -> bool {
        self.0[PLACES - 1] == EMPTY
    }

    /// How many places are taken. All are looked at: which one is the last is chance, and a branch on it would cost more.
    fn used(&self) -> usize {
        self.0.iter().map(|place| u32::from(*place != EMPTY)).sum::<u32>() as usize
    }
}

fn kept(name: BlockHash) -> u32 {
    (name.0 as u32).max(EMPTY + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// One of few groups, so that most of them are too large for their line.
    fn mark(name: u32) -> Mark {
        Mark { name: BlockHash(name.into()), group: BlockHash((name % 7).into()) }
    }

    proptest! {
        #[test]
        fn it_has_what_a_plain_set_has(names in proptest::collection::vec(1..2_000_u32, 0..1_000)) {
            let (mut marks, mut plain) = (Marks::default(), HashSet::new());
            for round in 0..3 {
                marks.reset(if round == 0 { 0 } else { 300 });
                plain.clear();
                for (place, name) in names.iter().enumerate() {
                    prop_assert_eq!(marks.contains(mark(*name)), plain.contains(name));
                    if place % 3 >= round && plain.insert(*name) {
                        marks.insert_new(mark(*name).group, [BlockHash((*name).into())].into_iter());
                    }
                    prop_assert_eq!(marks.len(), plain.len());
                }
                prop_assert!(plain.iter().all(|name| marks.contains(mark(*name))));
            }
        }
    }

    #[test]
    fn a_set_without_room_has_nothing() {
        let mut marks = Marks::default();
        assert!(!marks.contains(mark(1)));
        marks.look_ahead([mark(1)].into_iter());
        assert_eq!((marks.bytes(), marks.room()), (0, 0));
        marks.reset(800);
        marks.insert_new(mark(1).group, [BlockHash(1), BlockHash(8)].into_iter());
        assert!(marks.contains(mark(1)) && marks.contains(mark(8)) && !marks.contains(mark(2)));
        assert_eq!((marks.len(), marks.room()), (2, 800));
        marks.reset(800);
        assert!(!marks.contains(mark(1)));
    }
}
