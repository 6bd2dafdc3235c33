//! The indexes of NVIDIA Dynamo's router: the plain radix tree, the compressed concurrent one (its default) and the
//! positional one.

use std::sync::Arc;
use std::thread::JoinHandle;

use dynamo_kv_router::indexer::{SyncIndexer, WorkerTask};
use dynamo_kv_router::protocols::{
    ExternalSequenceBlockHash, KvCacheEvent, KvCacheEventData, KvCacheRemoveData, KvCacheStoreData,
    KvCacheStoredBlockData, LocalBlockHash, OverlapScores, RouterEvent, compute_seq_hash_for_block,
};
use dynamo_kv_router::{ConcurrentRadixTreeCompressed, PositionalIndexer, RadixTree};
use tokio::sync::oneshot;
use warmroute_kv::BlockHash;

use crate::contender::Contender;
use crate::shapes::{Load, Sequence};

/// The stride that its own router starts the positional index with.
const JUMP: usize = 32;

/// A load in its types: our names serve as its block hashes; its sequence hashes are chained from these by its own
/// function.
struct Fed {
    stores: Vec<RouterEvent>,
    removals: Vec<RouterEvent>,
    queries: Vec<Vec<LocalBlockHash>>,
}

impl Fed {
    fn new(load: &Load, removals: &[Sequence]) -> Self {
        let mut sequence = std::collections::HashMap::new();
        let stores = load.stores.iter().enumerate().map(|(number, one)| {
            let local = local(&one.blocks);
            let names = compute_seq_hash_for_block(&local).into_iter().map(ExternalSequenceBlockHash);
            let pairs: Vec<_> = local.into_iter().zip(names).collect();
            sequence.extend(one.blocks.iter().copied().zip(pairs.iter().map(|(_, name)| *name)));
            let block = |(tokens_hash, block_hash)| KvCacheStoredBlockData {
                block_hash,
                tokens_hash,
                mm_extra_info: None,
            };
            let blocks = pairs.into_iter().map(block).collect();
            let store = KvCacheStoreData { parent_hash: None, start_position: None, blocks };
            event(number, one.worker, KvCacheEventData::Stored(store))
        });
        let stores = stores.collect();
        let removal = |(number, one): (usize, &Sequence)| {
            let block_hashes = one.blocks.iter().map(|block| sequence[block]).collect();
            event(number, one.worker, KvCacheEventData::Removed(KvCacheRemoveData { block_hashes }))
        };
        let removals = removals.iter().enumerate().map(removal).collect();
        Self { stores, removals, queries: load.queries.iter().map(|query| local(query)).collect() }
    }
}

fn local(blocks: &[BlockHash]) -> Vec<LocalBlockHash> {
    blocks.iter().map(|block| LocalBlockHash(block.0)).collect()
}

fn event(number: usize, worker: u32, data: KvCacheEventData) -> RouterEvent {
    RouterEvent::new(u64::from(worker), KvCacheEvent { event_id: number as u64, data, dp_rank: 0 })
}

fn depths(scores: OverlapScores) -> Vec<(u32, usize)> {
    scores.scores.into_iter().map(|(worker, depth)| (worker.worker_id as u32, depth as usize)).collect()
}

fn deepest(scores: &OverlapScores) -> usize {
    scores.scores.values().copied().max().unwrap_or(0) as usize
}

struct Plain {
    index: RadixTree,
    fed: Fed,
    /// It takes queries by value; these are copied before the clock starts.
    ready: Vec<Vec<LocalBlockHash>>,
}

pub fn radix_tree(load: &Load, removals: &[Sequence]) -> Box<dyn Contender> {
    Box::new(Plain { index: RadixTree::new(), fed: Fed::new(load, removals), ready: vec![] })
}

impl Contender for Plain {
    fn insert(&mut self) {
        for event in self.fed.stores.drain(..) {
            self.index.apply_event(event).expect("the load is well formed");
        }
    }

    fn ready(&mut self, passes: usize) {
        // Drawn from the back, so that copies stand in the reverse order of their use.
        self.ready = (0..passes).flat_map(|_| self.fed.queries.iter().rev().cloned()).collect();
    }

    fn lookup(&mut self, query: usize) -> usize {
        let owned = self.ready.pop().unwrap_or_else(|| self.fed.queries[query].clone());
        deepest(&self.index.find_matches(owned, false))
    }

    fn depths(&mut self, query: usize) -> Vec<(u32, usize)> {
        depths(self.index.find_matches(self.fed.queries[query].clone(), false))
    }

    fn remove(&mut self) {
        for event in self.fed.removals.drain(..) {
            // A refusal is an answer too; what it leaves behind shows in the exactness check.
            _ = self.index.apply_event(event);
        }
    }

    fn discard(&mut self) {
        self.index = RadixTree::new();
    }
}

/// An index that takes events on threads of its own. One is used, which keeps what it knows of the workers.
struct Threaded<I> {
    lane: Option<Lane<I>>,
    new: fn() -> I,
    fed: Fed,
}

struct Lane<I> {
    index: Arc<I>,
    tasks: flume::Sender<WorkerTask>,
    thread: JoinHandle<()>,
}

pub fn compressed(load: &Load, removals: &[Sequence]) -> Box<dyn Contender> {
    let new = ConcurrentRadixTreeCompressed::new;
    Box::new(Threaded { lane: None, new, fed: Fed::new(load, removals) })
}

pub fn positional(load: &Load, removals: &[Sequence]) -> Box<dyn Contender> {
    let new = || PositionalIndexer::new(JUMP);
    Box::new(Threaded { lane: None, new, fed: Fed::new(load, removals) })
}

impl<I: SyncIndexer> Threaded<I> {
    /// Sends all events and waits until they are applied. The events are queued before the thread starts where it does
    /// not run yet, so that it never waits; the price of the queue is about a hundredth of that of an event.
    fn apply(&mut self, events: Vec<RouterEvent>) {
        let (done, applied) = oneshot::channel();
        let queue = |tasks: &flume::Sender<WorkerTask>| {
            for event in events {
                tasks.send(WorkerTask::Event(event)).expect("its thread runs until we hang up");
            }
            tasks.send(WorkerTask::Flush(done)).expect("its thread runs until we hang up");
        };
        if let Some(lane) = &self.lane {
            queue(&lane.tasks);
        } else {
            let (tasks, received) = flume::unbounded();
            queue(&tasks);
            let index = Arc::new((self.new)());
            let shared = Arc::clone(&index);
            let thread = std::thread::spawn(move || {
                shared.worker(received, None).expect("its thread ends when we hang up")
            });
            self.lane = Some(Lane { index, tasks, thread });
        }
        applied.blocking_recv().expect("its thread answers");
    }

    fn find(&self, query: usize) -> OverlapScores {
        let index = &self.lane.as_ref().expect("it was told something").index;
        index.find_matches(&self.fed.queries[query], false)
    }
}

impl<I: SyncIndexer> Contender for Threaded<I> {
    fn insert(&mut self) {
        let stores = std::mem::take(&mut self.fed.stores);
        self.apply(stores);
    }

    fn lookup(&mut self, query: usize) -> usize {
        deepest(&self.find(query))
    }

    fn depths(&mut self, query: usize) -> Vec<(u32, usize)> {
        depths(self.find(query))
    }

    fn remove(&mut self) {
        let removals = std::mem::take(&mut self.fed.removals);
        self.apply(removals);
    }

    fn discard(&mut self) {
        if let Some(lane) = self.lane.take() {
            drop(lane.tasks);
            lane.thread.join().expect("its thread ends when we hang up");
        }
    }
}
