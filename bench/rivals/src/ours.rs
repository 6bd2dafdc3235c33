//! Our own index.

use warmroute_kv::{BlockHash, KvEvent};
use warmroute_routing::{Index, Leading, WorkerId};

use crate::contender::Contender;
use crate::shapes::{Load, ROOT, Sequence};

struct Ours {
    index: Index,
    leading: Leading,
    stores: Vec<(WorkerId, KvEvent)>,
    removals: Vec<(WorkerId, KvEvent)>,
    queries: Vec<Vec<BlockHash>>,
}

pub fn make(load: &Load, removals: &[Sequence]) -> Box<dyn Contender> {
    let store =
        |one: &Sequence| (WorkerId(one.worker), KvEvent::Stored { parent: ROOT, blocks: one.blocks.clone() });
    let removal = |one: &Sequence| (WorkerId(one.worker), KvEvent::Removed { blocks: one.blocks.clone() });
    Box::new(Ours {
        index: Index::default(),
        leading: Leading::default(),
        stores: load.stores.iter().map(store).collect(),
        removals: removals.iter().map(removal).collect(),
        queries: load.queries.clone(),
    })
}

impl Contender for Ours {
    fn insert(&mut self) {
        for (worker, event) in &self.stores {
            self.index.apply(*worker, event);
        }
    }

    fn lookup(&mut self, query: usize) -> usize {
        self.index.leading(&self.queries[query], &mut self.leading);
        self.leading.deepest()
    }

    fn depths(&mut self, query: usize) -> Vec<(u32, usize)> {
        self.lookup(query);
        self.leading.iter().map(|(worker, depth)| (worker.0, depth)).collect()
    }

    fn remove(&mut self) {
        for (worker, event) in &self.removals {
            self.index.apply(*worker, event);
        }
    }

    fn discard(&mut self) {
        self.index = Index::default();
    }
}
