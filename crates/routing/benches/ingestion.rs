//! What it costs to follow engines: from a message's bytes to the index, in the three steps it takes.
//!
//! One worker's life: prompts of 64 blocks of 16 tokens come in by eight blocks an event, and leave block by block, four events a
//! message, in vLLM's list and map forms. Throughput is in blocks told of, coming and leaving.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warmroute_kv::wire::{
    Batch, Buffers, EngineEvent, EngineHash, ExtraKeys, Form, Home, Lora, MOST_BLOCKS, Naming, Removed,
    Stored, Translator, encode,
};
use warmroute_kv::{KvEvents, TokenId, Tokens};
use warmroute_routing::{Index, WorkerId};

const PROMPTS: u64 = 256;
const PROMPT_BLOCKS: u64 = 64;
const EVENT_BLOCKS: usize = 8;
const BATCH_EVENTS: usize = 4;
const BLOCK: usize = 16;
/// Each block comes and leaves.
const TOLD: u64 = 2 * PROMPTS * PROMPT_BLOCKS;

/// Spread like an engine's hashes.
fn hash(prompt: u64, block: u64) -> EngineHash {
    EngineHash((prompt * PROMPT_BLOCKS + block + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Every message of the worker's life.
fn messages(form: Form) -> Vec<Vec<u8>> {
    let tokens: Vec<TokenId> =
        (0..EVENT_BLOCKS * BLOCK).map(|place| (place as u32).wrapping_mul(0x9e37_79b9) >> 15).collect();
    let mut messages = Vec::new();
    for prompt in 0..PROMPTS {
        let mut tokens = tokens.clone();
        tokens[0] = u32::try_from(prompt).expect("few prompts");
        let hashes: Vec<_> = (0..PROMPT_BLOCKS).map(|block| hash(prompt, block)).collect();
        let stored = |(event, blocks): (usize, _)| {
            EngineEvent::Stored(Stored {
                blocks,
                parent: (event * EVENT_BLOCKS).checked_sub(1).map(|before| hashes[before]),
                tokens: &tokens,
                block_tokens: Tokens::of(BLOCK),
                home: Home::default(),
                attention: None,
                lora: Lora::default(),
                cache_salt: None,
                extra_keys: ExtraKeys::default(),
            })
        };
        let came: Vec<_> = hashes.chunks(EVENT_BLOCKS).enumerate().map(stored).collect();
        let removed = |block| EngineEvent::Removed(Removed { blocks: block, home: Home::default() });
        let left: Vec<_> = hashes.rchunks(1).map(removed).collect();
        for events in came.chunks(BATCH_EVENTS).chain(left.chunks(BATCH_EVENTS)) {
            let mut message = Vec::new();
            encode(form, 1.5, events, Some(0), &mut message);
            messages.push(message);
        }
    }
    messages
}

/// Decodes everything and hands each event on.
fn read(messages: &[Vec<u8>], buffers: &mut Buffers, mut take: impl FnMut(u32, &EngineEvent<'_>)) {
    for message in messages {
        let batch = Batch::read(message).expect("it was encoded");
        let mut events = batch.events();
        while let Some(event) = events.next(buffers) {
            take(batch.data_parallel_rank.unwrap_or_default(), &event.expect("it was encoded"));
        }
    }
}

fn all(criterion: &mut Criterion) {
    for (name, form) in [("list", Form::Array), ("map", Form::Map)] {
        let messages = messages(form);
        let mut group = criterion.benchmark_group(format!("ingestion, {name} form"));
        group.sample_size(20).throughput(Throughput::Elements(TOLD));
        let mut buffers = Buffers::default();
        group.bench_function("decoded", |bencher| {
            bencher.iter(|| read(&messages, &mut buffers, |_, event| _ = black_box(event)));
        });
        let mut events = KvEvents::new();
        group.bench_function("and translated", |bencher| {
            bencher.iter(|| {
                let mut engine = Translator::new(Naming::new("m", Tokens::of(BLOCK)), MOST_BLOCKS);
                read(&messages, &mut buffers, |rank, event| {
                    engine.apply(rank, event, &mut events);
                    black_box(events.drain(..).count());
                });
                engine
            });
        });
        group.bench_function("and indexed", |bencher| {
            bencher.iter(|| {
                let mut engine = Translator::new(Naming::new("m", Tokens::of(BLOCK)), MOST_BLOCKS);
                let mut index = Index::default();
                read(&messages, &mut buffers, |rank, event| {
                    engine.apply(rank, event, &mut events);
                    events.drain(..).for_each(|event| index.apply(WorkerId(1), &event));
                });
                (engine, index)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
