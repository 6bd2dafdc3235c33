//! The ways from a message's bytes to an index: ours, and those of dynamo-kv-router, in the calls and the order of its own listener.

use dynamo_kv_router::RadixTree;
use dynamo_kv_router::protocols::{
    BlockHashOptions, LocalBlockHash, OverlapScores, RouterEvent, WorkerWithDpRank,
    compute_block_hash_for_seq,
};
use dynamo_kv_router::services::indexer::backend::{Indexer, create_indexer};
use dynamo_kv_router::zmq_wire::{ZmqEventNormalizer, decode_event_batch};
use tokio::runtime::Runtime;
use warmroute_kv::wire::{Batch, Buffers, MOST_BLOCKS, Naming, Translator};
use warmroute_kv::{KvEvents, Namespace, TokenId, Tokens, token_chain};
use warmroute_routing::{Index, Leading, WorkerId};

use super::fleet::{BLOCK_TOKENS, Message};

/// The threads that its router gives its index unless told otherwise (`router_event_threads`).
const DYNAMO_THREADS: usize = 4;
const MODEL: &str = "m";

/// One way, with everything that it keeps.
pub trait Path {
    /// Takes messages in, and returns when all of them are in the index.
    fn hear(&mut self, messages: &[Message]);

    /// Leading blocks of the prompt that this publisher holds.
    fn depth(&self, publisher: u32, prompt: &[TokenId]) -> usize;
}

/// A way by its name, how to begin it for so many publishers, and its first step alone, the decoding.
pub struct Contender {
    pub name: &'static str,
    pub begin: fn(u32) -> Box<dyn Path>,
    pub decode: fn(&[Message]),
}

/// All of them, ours first. Ratios are to it.
pub const CONTENDERS: [Contender; 3] = [
    Contender { name: "warmroute", begin: Ours::begin, decode: decode_ours },
    Contender { name: "dynamo 1.6.1, its indexer", begin: Threaded::begin, decode: decode_dynamo },
    Contender { name: "dynamo 1.6.1, bare RadixTree", begin: Bare::begin, decode: decode_dynamo },
];

/// As an account of the gateway does it: all of a message is translated, then told to the index.
struct Ours {
    publishers: Vec<Translator>,
    buffers: Buffers,
    changes: KvEvents,
    index: Index,
}

impl Ours {
    fn begin(publishers: u32) -> Box<dyn Path> {
        let translator = |_| Translator::new(Naming::new(MODEL, Tokens::of(BLOCK_TOKENS)), MOST_BLOCKS);
        Box::new(Self {
            publishers: (0..publishers).map(translator).collect(),
            buffers: Buffers::default(),
            changes: KvEvents::new(),
            index: Index::default(),
        })
    }
}

impl Path for Ours {
    fn hear(&mut self, messages: &[Message]) {
        for Message { publisher, payload } in messages {
            let batch = Batch::read(payload).expect("it was encoded");
            let rank = batch.data_parallel_rank.unwrap_or_default();
            let translator = &mut self.publishers[*publisher as usize];
            let mut events = batch.events();
            while let Some(event) = events.next(&mut self.buffers) {
                translator.apply(rank, &event.expect("it was encoded"), &mut self.changes);
            }
            self.changes.drain(..).for_each(|change| self.index.apply(WorkerId(*publisher), &change));
        }
    }

    fn depth(&self, publisher: u32, prompt: &[TokenId]) -> usize {
        let root = Namespace { model: MODEL, lora: None, salt: None, tools: None }.root();
        let chain: Vec<_> = token_chain(root, prompt, BLOCK_TOKENS).collect();
        let mut leading = Leading::default();
        self.index.leading(&chain, &mut leading);
        leading.depth_of(WorkerId(publisher))
    }
}

fn decode_ours(messages: &[Message]) {
    let mut buffers = Buffers::default();
    for message in messages {
        let mut events = Batch::read(&message.payload).expect("it was encoded").events();
        while let Some(event) = events.next(&mut buffers) {
            _ = std::hint::black_box(event);
        }
    }
}

/// Messages to events for its indexes, as its listener makes them: one normalizer a publisher.
struct Listeners(Vec<ZmqEventNormalizer>);

impl Listeners {
    fn of(publishers: u32) -> Self {
        Self((0..publishers).map(|_| ZmqEventNormalizer::new(BLOCK_TOKENS as u32)).collect())
    }

    fn events(&mut self, sequence: u64, message: &Message) -> impl Iterator<Item = RouterEvent> {
        let batch = decode_event_batch(&message.payload).expect("it was encoded");
        let rank = batch.data_parallel_rank.map_or(0, i32::cast_unsigned);
        let worker = WorkerWithDpRank::new(u64::from(message.publisher), rank);
        let normalizer = &mut self.0[message.publisher as usize];
        batch.events.into_iter().filter_map(move |event| {
            let placed = normalizer.normalize(event, sequence, worker)?;
            Some(placed.into_router_event().expect("it is a local worker's"))
        })
    }
}

fn decode_dynamo(messages: &[Message]) {
    for message in messages {
        _ = std::hint::black_box(decode_event_batch(&message.payload).expect("it was encoded"));
    }
}

/// What its indexer service and its selection service have: a compressed radix tree that threads of its own keep.
struct Threaded {
    listeners: Listeners,
    indexer: Indexer,
    runtime: Runtime,
}

impl Threaded {
    fn begin(publishers: u32) -> Box<dyn Path> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
        let indexer = create_indexer(BLOCK_TOKENS as u32, DYNAMO_THREADS);
        Box::new(Self { listeners: Listeners::of(publishers), indexer, runtime })
    }
}

impl Path for Threaded {
    fn hear(&mut self, messages: &[Message]) {
        self.runtime.block_on(async {
            for (sequence, message) in (0..).zip(messages) {
                for event in self.listeners.events(sequence, message) {
                    self.indexer.apply_event_routed(event).await.expect("its threads run");
                }
            }
            let Indexer::Concurrent { primary, .. } = &self.indexer else {
                unreachable!("it has more threads than one")
            };
            primary.flush_and_wait().await.expect("its threads run");
        });
    }

    fn depth(&self, publisher: u32, prompt: &[TokenId]) -> usize {
        let found = self.runtime.block_on(self.indexer.find_matches(local(prompt)));
        depth(&found.expect("its threads run"), publisher)
    }
}

/// The simplest of its trees, told on the spot: what the way costs without threads and queues.
struct Bare {
    listeners: Listeners,
    index: RadixTree,
}

impl Bare {
    fn begin(publishers: u32) -> Box<dyn Path> {
        Box::new(Self { listeners: Listeners::of(publishers), index: RadixTree::new() })
    }
}

impl Path for Bare {
    fn hear(&mut self, messages: &[Message]) {
        for (sequence, message) in (0..).zip(messages) {
            for event in self.listeners.events(sequence, message) {
                self.index.apply_event(event).expect("the messages are well formed");
            }
        }
    }

    fn depth(&self, publisher: u32, prompt: &[TokenId]) -> usize {
        depth(&self.index.find_matches(local(prompt), false), publisher)
    }
}

fn local(prompt: &[TokenId]) -> Vec<LocalBlockHash> {
    compute_block_hash_for_seq(prompt, BLOCK_TOKENS as u32, BlockHashOptions::default())
}

fn depth(found: &OverlapScores, publisher: u32) -> usize {
    found.scores.get(&WorkerWithDpRank::new(u64::from(publisher), 0)).copied().unwrap_or(0) as usize
}
