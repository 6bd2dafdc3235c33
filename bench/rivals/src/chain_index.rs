//! The index of smg's gateway, fed as that feeds it: a lane of its own per worker, with the worker's block map.

use kv_index::{ChainBlockMap, ChainIndex, ContentHash, SequenceHash, StoredBlock, request_prefix_hashes};
use warmroute_kv::BlockHash;

use crate::contender::Contender;
use crate::shapes::{Load, Sequence};

struct Chain {
    index: ChainIndex,
    workers: usize,
    depths: Vec<u32>,
    /// Each worker's map of blocks, by the index's own id for the worker.
    maps: Vec<ChainBlockMap>,
    stores: Vec<(u32, Vec<StoredBlock>)>,
    removals: Vec<(u32, Vec<SequenceHash>)>,
    queries: Vec<Vec<ContentHash>>,
}

/// Our names serve as its content hashes; its sequence hashes are chained from these by its own function.
pub fn make(load: &Load, removals: &[Sequence]) -> Box<dyn Contender> {
    let contents = |blocks: &[BlockHash]| blocks.iter().map(|block| ContentHash(block.0)).collect::<Vec<_>>();
    let mut sequence = std::collections::HashMap::new();
    let store = |one: &Sequence| {
        let contents = contents(&one.blocks);
        let names = request_prefix_hashes(&contents);
        let pairs = contents.into_iter().zip(names);
        let blocks: Vec<_> =
            pairs.map(|(content_hash, seq_hash)| StoredBlock { seq_hash, content_hash }).collect();
        sequence.extend(one.blocks.iter().copied().zip(blocks.iter().map(|block| block.seq_hash)));
        (one.worker, blocks)
    };
    let stores = load.stores.iter().map(store).collect();
    let removal = |one: &Sequence| (one.worker, one.blocks.iter().map(|block| sequence[block]).collect());
    let workers = load.stores.iter().map(|store| store.worker as usize + 1).max().unwrap_or(1);
    let mut made = Chain {
        index: ChainIndex::with_max_workers(workers),
        workers,
        depths: vec![0; workers],
        maps: vec![],
        stores,
        removals: removals.iter().map(removal).collect(),
        queries: load.queries.iter().map(|query| contents(query)).collect(),
    };
    made.discard();
    Box::new(made)
}

impl Contender for Chain {
    fn insert(&mut self) {
        for (worker, blocks) in &self.stores {
            let map = &mut self.maps[*worker as usize];
            self.index.apply_stored(*worker, blocks, None, map).expect("the load is well formed");
        }
    }

    fn lookup(&mut self, query: usize) -> usize {
        // Its form without allocation, filling what ours fills: the depth of each worker, to be read by its number.
        self.depths.fill(0);
        let (depths, mut deepest) = (&mut self.depths, 0);
        self.index.score_into(
            &self.queries[query],
            |content| content.0,
            false,
            |worker, depth| {
                depths[worker as usize] = depth;
                deepest = deepest.max(depth);
            },
        );
        deepest as usize
    }

    fn depths(&mut self, query: usize) -> Vec<(u32, usize)> {
        let scores = self.index.find_matches(&self.queries[query], false).scores;
        scores.into_iter().map(|(worker, depth)| (worker, depth as usize)).collect()
    }

    fn remove(&mut self) {
        for (worker, blocks) in &self.removals {
            self.index.apply_removed(*worker, blocks, &mut self.maps[*worker as usize]);
        }
    }

    fn discard(&mut self) {
        // Sized for the fleet, which is its cheapest; its gateway sizes it for 1,024 workers.
        self.index = ChainIndex::with_max_workers(self.workers);
        self.maps = (0..self.workers).map(|_| ChainBlockMap::new()).collect();
        for worker in 0..self.workers {
            let id = self.index.intern_worker(&worker.to_string()).expect("there is room for the fleet");
            assert_eq!(id as usize, worker, "ids are given in order");
        }
    }
}
