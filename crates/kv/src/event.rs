//! The one language in which anything is told about caches: what a worker stored, removed or cleared.

use crate::hash::BlockHash;

/// A change of one worker's cache. Blocks are named by our own [`BlockHash`] chain whatever the engine calls them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvEvent {
    /// Consecutive blocks came in.
    Stored {
        /// The block before the first of `blocks`; a namespace's root where they begin a prompt.
        parent: BlockHash,
        /// The new blocks in prompt order, each the parent of the next.
        blocks: Vec<BlockHash>,
    },
    /// Blocks were evicted, in the order given.
    Removed {
        /// The evicted blocks, a block always before its parent.
        blocks: Vec<BlockHash>,
    },
    /// The whole cache was dropped.
    Cleared,
}

/// Events in the order they happened, appended to by whoever changes a cache and drained by the caller.
pub type KvEvents = Vec<KvEvent>;

/// Tells that `new` blocks came in after `parent`, as part of the last event where they continue it.
pub(crate) fn stored(events: &mut KvEvents, parent: BlockHash, new: &[BlockHash]) {
    match events.last_mut() {
        _ if new.is_empty() => {}
        Some(KvEvent::Stored { blocks, .. }) if blocks.last() == Some(&parent) => {
            blocks.extend_from_slice(new)
        }
        _ => events.push(KvEvent::Stored { parent, blocks: new.to_vec() }),
    }
}

/// Tells that blocks were evicted, as part of the last event where that is a removal too.
pub(crate) fn removed(events: &mut KvEvents, gone: &[BlockHash]) {
    match events.last_mut() {
        _ if gone.is_empty() => {}
        Some(KvEvent::Removed { blocks }) => blocks.extend_from_slice(gone),
        _ => events.push(KvEvent::Removed { blocks: gone.to_vec() }),
    }
}
