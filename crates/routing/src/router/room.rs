//! How many blocks and marks fit into the memory that the router may use for what it only believes.
//!
//! Each costs the most that it can cost: a block that is a run of its own, and tables that have just been doubled. Mostly it is a third.

/// A block in a shadow's pool (its entry and its name's place, both in what was just doubled: 110 bytes) and in the index (its place, its run, the run's
/// head: 210 bytes).
const BLOCK_BYTES: usize = 320;
/// A mark in one of the ghost's two sets, of which a half is filled: 8 bytes, and as much for what small sets have beyond that.
const MARK_BYTES: usize = 16;
/// The ghost's part of the whole.
const GHOST_SHARE: usize = 8;

/// What fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Blocks of all shadows together.
    pub(super) blocks: usize,
    /// Marks of the ghost.
    pub(super) marks: usize,
}

impl Room {
    pub(super) fn within(bytes: usize) -> Self {
        let ghost = bytes / GHOST_SHARE;
        Self { blocks: (bytes - ghost) / BLOCK_BYTES, marks: ghost / MARK_BYTES }
    }
}
