//! Runs of equal coverage: all blocks that anybody holds, cut into runs where the set of holders changes.
//!
//! A change of who holds some blocks moves at most those blocks from run to run: onto the run before or behind if that
//! now has the same holders, else into a run of their own. A tail that is evicted block by block, or an answer that is
//! stored block by block, therefore leaves long runs behind. Only where a hole is opened or closed, the shorter side is
//! moved as well, which [`RUN_BLOCKS_MAX`] bounds.
//!
//! Always: a block is in exactly one run, and the table says which; no run is empty or without holders; a run whose
//! `next` is a run that continues it has other holders than that.

use std::ops::Range;

use warmroute_kv::BlockHash;

use super::holders::Holders;
use super::run::{Run, RunId, Runs, Table};
use super::workers::Slot;

/// Longer sequences are several runs, so that no single event moves more than half of this beside its own blocks.
pub(super) const RUN_BLOCKS_MAX: usize = if cfg!(test) { 16 } else { 1024 };

/// Who holds which blocks.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    pub(super) table: Table,
    pub(super) runs: Runs,
}

impl Coverage {
    /// The run that has `block`, and where.
    pub(super) fn find(&self, block: BlockHash) -> Option<(RunId, usize)> {
        self.table.candidates(block).map(RunId).find_map(|id| Some((id, self.runs[id].position(block)?)))
    }

    /// Adds the first of `blocks`, which nobody holds, for one holder, and those behind it up to the first that somebody
    /// may hold. Returns how many.
    pub(super) fn add(&mut self, parent: BlockHash, blocks: &[BlockHash], holder: Slot) -> usize {
        let holders = Holders::one(holder);
        let before = self.ending_with(parent);
        let extended = before.filter(|id| self.runs[*id].holders == holders && self.room(*id) > 0);
        let Some(id) = extended else {
            let most = &blocks[..blocks.len().min(RUN_BLOCKS_MAX)];
            let count = self.table.insert_new(most, self.runs.vacant().0);
            let id = self.runs.add(Run::new(parent, &blocks[..count], holders));
            if let Some(before) = before.filter(|before| self.next_of(*before).is_none()) {
                self.point(before, id);
            }
            self.settle(id);
            return count;
        };
        let most = &blocks[..blocks.len().min(self.room(id))];
        let count = self.table.insert_new(most, id.0);
        self.runs.edit(id, |run| run.blocks.append(&blocks[..count]));
        self.settle_behind(id);
        count
    }

    /// Makes `holder`, who does not hold the run, hold a part of it.
    pub(super) fn give(&mut self, id: RunId, part: Range<usize>, holder: Slot) {
        let holders = self.runs[id].holders.with(holder);
        self.cover(id, part, holders);
    }

    /// Makes `holder`, who holds the run, not hold a part of it.
    pub(super) fn take(&mut self, id: RunId, part: Range<usize>, holder: Slot) {
        let holders = self.runs[id].holders.without(holder);
        if holders.is_empty() { self.remove(id, part) } else { self.cover(id, part, holders) }
    }

    /// Bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        self.table.bytes() + self.runs.bytes()
    }

    /// The run that continues another one, as far as that one knows.
    pub(super) fn next_of(&self, id: RunId) -> Option<RunId> {
        let run = &self.runs[id];
        let next = self.runs.get(run.next)?;
        (run.next != id && Some(next.parent) == run.blocks.last()).then_some(run.next)
    }

    fn ending_with(&self, block: BlockHash) -> Option<RunId> {
        self.table.candidates(block).map(RunId).find(|id| self.runs[*id].blocks.last() == Some(block))
    }

    /// The run that another one continues.
    fn before(&self, id: RunId) -> Option<RunId> {
        self.ending_with(self.runs[id].parent).filter(|before| *before != id)
    }

    fn room(&self, id: RunId) -> usize {
        RUN_BLOCKS_MAX.saturating_sub(self.runs[id].len())
    }

    fn point(&mut self, id: RunId, next: RunId) {
        self.runs.edit(id, |run| run.next = next);
    }

    /// Gives a part of a run other holders.
    fn cover(&mut self, id: RunId, part: Range<usize>, holders: Holders) {
        let len = self.runs[id].len();
        if part.len() < len && part.start == 0 {
            let before = self.before(id).filter(|before| self.takes(*before, &holders, part.len()));
            if let Some(before) = before {
                return self.move_back(id, part.len(), before);
            }
        }
        if part.len() < len && part.end == len {
            let next = self.next_of(id).filter(|next| self.takes(*next, &holders, part.len()));
            if let Some(next) = next {
                return self.move_on(id, part.len(), next);
            }
        }
        let piece = self.isolate(id, part);
        self.runs.edit(piece, |run| run.holders = holders);
        self.settle(piece);
    }

    /// Whether a run may take in `count` blocks with these holders.
    fn takes(&self, id: RunId, holders: &Holders, count: usize) -> bool {
        self.runs[id].holders == *holders && self.room(id) >= count
    }

    /// Moves the first `count` blocks of a run, not all, to the end of the run before it.
    fn move_back(&mut self, id: RunId, count: usize, before: RunId) {
        let moved = self.runs.edit_head(id, |run| run.drain_front(count));
        self.table.refile(&moved, id.0, before.0);
        self.runs.edit(before, |run| {
            run.blocks.append(&moved);
            run.next = id;
        });
    }

    /// Moves the last `count` blocks of a run, not all, to the front of the run that continues it.
    fn move_on(&mut self, id: RunId, count: usize, next: RunId) {
        let moved = self.runs.edit(id, |run| run.drain_back(count));
        self.table.refile(&moved, id.0, next.0);
        let parent = self.runs[id].blocks.last().expect("not all blocks are moved");
        self.runs.edit_head(next, |run| {
            run.blocks.prepend(&moved);
            run.parent = parent;
        });
    }

    /// Cuts a part of a run off from the rest. Returns the run that is exactly this part.
    fn isolate(&mut self, id: RunId, part: Range<usize>) -> RunId {
        let mut piece = id;
        if part.end < self.runs[piece].len() {
            (piece, _) = self.split(piece, part.end);
        }
        if part.start > 0 {
            (_, piece) = self.split(piece, part.start);
        }
        piece
    }

    /// Cuts a run in two before its block `at`, by moving the shorter side. Returns front and back.
    fn split(&mut self, id: RunId, at: usize) -> (RunId, RunId) {
        let run = &self.runs[id];
        let (len, parent, holders, next) = (run.len(), run.parent, run.holders.clone(), run.next);
        let new = self.runs.vacant();
        if at <= len - at {
            let before = self.before(id);
            let moved = self.runs.edit_head(id, |run| run.drain_front(at));
            self.table.refile(&moved, id.0, new.0);
            self.runs.add(Run { next: id, ..Run::new(parent, &moved, holders) });
            if let Some(before) = before.filter(|before| [id, new].contains(&self.runs[*before].next)) {
                self.point(before, if self.runs[before].next == id { new } else { RunId::NONE });
            }
            return (new, id);
        }
        let moved = self.runs.edit(id, |run| run.drain_back(len - at));
        self.table.refile(&moved, id.0, new.0);
        let parent = self.runs[id].blocks.last().expect("the front of a split is not empty");
        self.runs.add(Run { next, ..Run::new(parent, &moved, holders) });
        self.point(id, new);
        (id, new)
    }

    /// Drops a part of a run that nobody holds any more.
    fn remove(&mut self, id: RunId, part: Range<usize>) {
        let inside = part.start > 0 && part.end < self.runs[id].len();
        let id = if inside { self.split(id, part.end).0 } else { id };
        let len = self.runs[id].len();
        self.table.remove_all(&self.runs[id].blocks.as_slice()[part.clone()], id.0);
        if part.len() == len {
            self.runs.remove(id);
        } else if part.start == 0 {
            self.runs.edit_head(id, |run| drop(run.drain_front(part.len())));
        } else {
            self.runs.edit(id, |run| run.blocks.truncate(part.start));
            self.settle_behind(id);
        }
    }

    /// Joins a run with its neighbours where their holders are the same.
    pub(super) fn settle(&mut self, id: RunId) {
        let same = self.before(id).filter(|before| self.runs[*before].holders == self.runs[id].holders);
        let id = same.map_or(id, |before| self.join(before, id));
        self.settle_behind(id);
    }

    fn settle_behind(&mut self, id: RunId) {
        let same = self.next_of(id).filter(|next| self.runs[*next].holders == self.runs[id].holders);
        if let Some(next) = same {
            self.join(id, next);
        }
    }

    /// Makes two neighbours with the same holders one run by moving the shorter one, or strangers if that were too
    /// long. Returns the run that has the blocks of `back`.
    fn join(&mut self, front: RunId, back: RunId) -> RunId {
        if self.room(front) < self.runs[back].len() {
            if self.runs[front].next == back {
                self.point(front, RunId::NONE);
            }
            return back;
        }
        if self.runs[back].len() <= self.runs[front].len() {
            let moved = self.runs.remove(back);
            self.table.refile(moved.blocks.as_slice(), back.0, front.0);
            self.runs.edit(front, |run| {
                run.blocks.append(moved.blocks.as_slice());
                run.next = moved.next;
            });
            return front;
        }
        let before = self.before(front);
        let moved = self.runs.remove(front);
        self.table.refile(moved.blocks.as_slice(), front.0, back.0);
        self.runs.edit_head(back, |run| {
            run.blocks.prepend(moved.blocks.as_slice());
            run.parent = moved.parent;
        });
        match before.filter(|before| *before != back) {
            // Strangers to each other so far, as after a hole that was filled.
            Some(before) if self.runs[before].holders == self.runs[back].holders => self.join(before, back),
            Some(before) if self.runs[before].next == front => {
                self.point(before, back);
                back
            }
            _ => back,
        }
    }
}
