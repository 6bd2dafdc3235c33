//! Who holds how many leading blocks of a prompt, as far as KV events tell.
//!
//! A block counts for a worker only if the worker holds every block before it: an engine cannot use what follows a
//! hole. First form: the holders of each block as a sorted list, and a walk down the prompt that keeps those still in
//! the race. Cost: prompt blocks x holders, which is what the interface lets a better structure improve on.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};

use warmroute_kv::{BlockHash, Blocks, KvEvent};

use crate::request::WorkerId;

/// The fleet's caches, as told.
#[derive(Debug, Default)]
pub struct Index {
    /// Who holds a block, in order of their ids.
    holders: HashMap<BlockHash, Vec<WorkerId>, BuildHasherDefault<DefaultHasher>>,
    /// How many blocks each worker holds.
    held: BTreeMap<WorkerId, u32>,
}

impl Index {
    /// Blocks held by at least one worker.
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether no worker holds anything.
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// How many blocks one worker holds.
    pub fn held_by(&self, worker: WorkerId) -> Blocks {
        Blocks(self.held.get(&worker).copied().unwrap_or(0))
    }

    /// Takes in what `worker` told. Telling twice changes nothing.
    pub fn apply(&mut self, worker: WorkerId, event: &KvEvent) {
        match event {
            KvEvent::Stored { blocks, .. } => blocks.iter().for_each(|block| self.insert(*block, worker)),
            KvEvent::Removed { blocks } => blocks.iter().for_each(|block| self.remove(*block, worker)),
            KvEvent::Cleared => self.forget(worker),
        }
    }

    /// Drops everything that `worker` holds.
    pub fn forget(&mut self, worker: WorkerId) {
        if self.held.remove(&worker).is_none() {
            return;
        }
        self.holders.retain(|_, holders| {
            holders.retain(|holder| *holder != worker);
            !holders.is_empty()
        });
    }

    /// Each worker that holds at least the first block of `chain`, with the number of leading blocks it holds.
    pub fn leading(&self, chain: &[BlockHash]) -> Vec<(WorkerId, usize)> {
        let mut racing: Vec<WorkerId> =
            chain.first().and_then(|block| self.holders.get(block)).cloned().unwrap_or_default();
        let mut depths = Vec::with_capacity(racing.len());
        for (depth, block) in chain.iter().enumerate().skip(1) {
            if racing.is_empty() {
                return depths;
            }
            let holders = self.holders.get(block).map_or(&[][..], Vec::as_slice);
            racing.retain(|worker| {
                let holds = holders.binary_search(worker).is_ok();
                if !holds {
                    depths.push((*worker, depth));
                }
                holds
            });
        }
        depths.extend(racing.into_iter().map(|worker| (worker, chain.len())));
        depths
    }

    fn insert(&mut self, block: BlockHash, worker: WorkerId) {
        let holders = self.holders.entry(block).or_default();
        if let Err(place) = holders.binary_search(&worker) {
            holders.insert(place, worker);
            *self.held.entry(worker).or_default() += 1;
        }
    }

    fn remove(&mut self, block: BlockHash, worker: WorkerId) {
        let Some(holders) = self.holders.get_mut(&block) else { return };
        if let Ok(place) = holders.binary_search(&worker) {
            holders.remove(place);
            self.held.entry(worker).and_modify(|held| *held -= 1);
        }
        if holders.is_empty() {
            self.holders.remove(&block);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const WORKERS: u32 = 4;

    fn event() -> impl Strategy<Value = KvEvent> {
        let blocks = || proptest::collection::vec((0_u64..8).prop_map(BlockHash), 1..5);
        prop_oneof![
            6 => blocks().prop_map(|blocks| KvEvent::Stored { parent: BlockHash(99), blocks }),
            3 => blocks().prop_map(|blocks| KvEvent::Removed { blocks }),
            1 => Just(KvEvent::Cleared),
        ]
    }

    fn tell(naive: &mut BTreeSet<BlockHash>, event: &KvEvent) {
        match event {
            KvEvent::Stored { blocks, .. } => naive.extend(blocks),
            KvEvent::Removed { blocks } => blocks.iter().for_each(|block| _ = naive.remove(block)),
            KvEvent::Cleared => naive.clear(),
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_one_plain_set_per_worker(
            told in proptest::collection::vec((0..WORKERS, event()), 0..80),
            chain in proptest::collection::vec((0_u64..8).prop_map(BlockHash), 0..8),
        ) {
            let mut index = Index::default();
            let mut naive = vec![BTreeSet::new(); WORKERS as usize];
            for (worker, event) in told {
                index.apply(WorkerId(worker), &event);
                tell(&mut naive[worker as usize], &event);
                let mut found = index.leading(&chain);
                found.sort_unstable();
                let expected: Vec<_> = (0..WORKERS)
                    .map(|id| (WorkerId(id), chain.iter().take_while(|b| naive[id as usize].contains(b)).count()))
                    .filter(|(_, depth)| *depth > 0)
                    .collect();
                prop_assert_eq!(found, expected);
            }
            let all: BTreeSet<_> = naive.iter().flatten().collect();
            prop_assert_eq!(index.len(), all.len(), "memory shrinks with removals");
            for (id, held) in (0..WORKERS).zip(&naive) {
                prop_assert_eq!(index.held_by(WorkerId(id)), Blocks::of(held.len()));
            }
        }
    }
}
