//! What the pool knows of a slot.

use std::num::NonZeroU32;

use super::lease::Slot;
use super::recency::{LOOSE, Link};
use crate::hash::BlockHash;

/// All that is known of a slot, in half a cache line where contents take no room: most of what is done to a block is a miss on it.
#[derive(Clone, Debug)]
pub(super) struct Entry<C> {
    /// Leases that hold this slot.
    pub(super) pins: u32,
    /// Its place in the order, while it is shared and no lease holds it.
    pub(super) link: Link,
    /// The last block that came in behind it. Only a hint: whoever follows it checks what is there now.
    pub(super) next: Slot,
    /// What the block is, once it is shared.
    pub(super) shared: Option<Shared<C>>,
}

const _: () = assert!(size_of::<Entry<()>>() == 32);

impl<C> Entry<C> {
    pub(super) const VACANT: Self = Self { pins: 0, link: LOOSE, next: NONE, shared: None };
}

#[derive(Clone, Debug)]
pub(super) struct Shared<C> {
    pub(super) hash: BlockHash,
    pub(super) content: C,
    /// The block before this one; the first block of a prompt has none.
    pub(super) parent: Slot,
    pub(super) generation: Generation,
}

/// The block before the first one of a prompt.
pub(super) const NONE: Slot = Slot(u32::MAX);

/// Counts clears. Never zero, so that a vacant slot takes no more memory than a taken one.
pub(super) type Generation = NonZeroU32;

impl<C> AsRef<Link> for Entry<C> {
    fn as_ref(&self) -> &Link {
        &self.link
    }
}

impl<C> AsMut<Link> for Entry<C> {
    fn as_mut(&mut self) -> &mut Link {
        &mut self.link
    }
}
