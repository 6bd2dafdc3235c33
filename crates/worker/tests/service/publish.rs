//! What the worker publishes is what its cache does, in order, under eviction, and names the blocks that `/tokenize` tells.

use futures_util::future::join_all;
use serde_json::json;
use warmroute_kv::{Namespace, Tokens};
use warmroute_worker::publish::{KvEndpoints, KvPublishing};

use crate::reader::{Believed, replay};
use crate::world::{World, prose};

async fn world() -> (World, KvEndpoints) {
    let world = World::with(|config| {
        let port = || "tcp://127.0.0.1:0".parse().unwrap();
        config.kv_events = Some(KvPublishing { replay: Some(port()), ..KvPublishing::at(port()) });
        config.kv_cache_tokens = Tokens(40 * 16);
        config.prefill_chunk_tokens = Tokens(48);
    })
    .await;
    let endpoints = world.worker.kv_endpoints().unwrap().clone();
    (world, endpoints)
}

fn prompt(n: usize) -> String {
    prose(n / 2 % 8, 90) + &prose(100 + n, 5 + n % 7)
}

/// The same as those that listen in the process hear.
#[tokio::test]
async fn events_say_what_the_cache_does_while_blocks_are_evicted() {
    let (world, endpoints) = world().await;
    let mut batches = world.worker.kv_batches();
    let mut told = Vec::new();
    for round in 0..3 {
        let salt = |n: usize| n.is_multiple_of(5).then_some("mine");
        let ask = |n| {
            let prompt = prompt(n);
            let world = &world;
            async move { world.complete(&prompt, json!({"cache_salt": salt(n), "max_tokens": 20})).await }
        };
        join_all((0..16).map(|n| ask(16 * round + n))).await;
        while let Ok(batch) = batches.try_recv() {
            told.extend(batch.events.clone());
        }
    }
    world.worker.idle().await;
    while let Ok(batch) = batches.try_recv() {
        told.extend(batch.events.clone());
    }
    let mut held = std::collections::HashSet::new();
    for event in told {
        match event {
            warmroute_kv::KvEvent::Stored { blocks, .. } => held.extend(blocks),
            warmroute_kv::KvEvent::Removed { blocks } => {
                blocks.iter().for_each(|block| assert!(held.remove(block)));
            }
            warmroute_kv::KvEvent::Cleared => held.clear(),
        }
    }
    let believed = Believed::of("warmroute-tiny", &replay(&endpoints, 0, "").await);
    assert_eq!(believed.own, held);
    assert_eq!(believed.names, held, "the worker names its blocks as a router does");
}

#[tokio::test]
async fn what_is_reported_cached_is_what_events_and_tokenize_foretell() {
    let (world, endpoints) = world().await;
    let mut hits = 0;
    for n in 0..40 {
        let prompt = prompt(n * 7 % 11);
        let told = world.ask("/tokenize", &json!({"model": "warmroute-tiny", "prompt": prompt})).await;
        let tokens: Vec<u32> = serde_json::from_value(told["tokens"].clone()).unwrap();
        let text = world.ask("/detokenize", &json!({"tokens": tokens})).await;
        assert_eq!(text["prompt"], json!(prompt));
        let believed = Believed::of("warmroute-tiny", &replay(&endpoints, 0, "").await);
        let root = Namespace { model: "warmroute-tiny", ..Namespace::default() }.root();
        let foretold = believed.reusable(root, &tokens);
        let answer = world.complete(&prompt, json!({"max_tokens": 3})).await;
        assert_eq!((answer.prompt(), answer.cached()), (tokens.len() as u64, foretold), "request {n}");
        hits += foretold;
    }
    assert!(hits > 500, "{hits}");
}
