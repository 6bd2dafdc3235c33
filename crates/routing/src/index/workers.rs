//! Dense numbers for the workers that hold something, so that a set of them is a few words of bits.
//!
//! Shared between the index and the answers taken from it: it changes when a worker comes or goes, and is read with
//! every lookup.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use crate::request::{NumberHasher, WorkerId};

/// A worker's number within the index. Reused when its worker is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(super) u32);

impl Slot {
    /// The slot as an index.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who has which slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Workers {
    slots: HashMap<WorkerId, u32, BuildHasherDefault<NumberHasher>>,
    /// By slot; a vacant slot keeps its last worker.
    ids: Vec<WorkerId>,
    vacant: Vec<u32>,
}

impl Workers {
    /// Slots given so far, vacant ones among them.
    pub(super) fn slots(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn slot(&self, worker: WorkerId) -> Option<Slot> {
        self.slots.get(&worker).copied().map(Slot)
    }

    pub(super) fn worker(&self, slot: Slot) -> WorkerId {
        self.ids[slot.0 as usize]
    }

    /// Gives a slot to a worker that has none.
    pub(super) fn add(&mut self, worker: WorkerId) -> Slot {
        let slot = self.vacant.pop().unwrap_or(self.ids.len() as u32);
        match self.ids.get_mut(slot as usize) {
            Some(id) => *id = worker,
            None => self.ids.push(worker),
        }
        self.slots.insert(worker, slot);
        Slot(slot)
    }

    /// Takes a worker's slot back.
    pub(super) fn remove(&mut self, worker: WorkerId) -> Option<Slot> {
        let slot = self.slots.remove(&worker)?;
        self.vacant.push(slot);
        if self.slots.is_empty() {
            *self = Self::default();
        }
        Some(Slot(slot))
    }

    /// About the bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        let slots = self.slots.capacity() * (size_of::<(WorkerId, u32)>() + 1);
        slots + (self.ids.capacity() + self.vacant.capacity()) * size_of::<u32>()
    }
}
