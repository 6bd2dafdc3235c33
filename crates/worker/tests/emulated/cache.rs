//! Usage says what the pool says: hits, evictions, salts and events, also when many ask at once.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use warmroute_kv::{BlockHash, KvEvent, Tokens};
use warmroute_worker::engine::KvBatch;

use crate::world::{World, chat, completion, usage};

#[tokio::test]
async fn a_prompt_that_was_read_before_is_found_but_for_its_last_token() {
    let world = World::new().await;
    let prompt = completion(&"a".repeat(64 * 10), json!({}));
    assert_eq!(usage(&world.ask("/v1/completions", &prompt).await), (160, 0));
    assert_eq!(
        usage(&world.ask("/v1/completions", &prompt).await),
        (160, 144),
        "the last block is computed again"
    );
    let longer = completion(&("a".repeat(64 * 10) + "and more"), json!({}));
    assert_eq!(usage(&world.ask("/v1/completions", &longer).await), (162, 160));
    let salted = completion(&"a".repeat(64 * 10), json!({"cache_salt": "mine"}));
    assert_eq!(usage(&world.ask("/v1/completions", &salted).await), (160, 0));
    world.try_post("/reset_prefix_cache", &json!({})).await.unwrap();
    assert_eq!(usage(&world.ask("/v1/completions", &prompt).await), (160, 0));
    let counters = world.worker.counters();
    assert_eq!((counters.requests, counters.prompt_tokens, counters.cached_tokens), (5, 802, 304));
    assert_eq!(world.metric("vllm:prefix_cache_hits_total").await, 304.0);
    assert_eq!(world.metric("vllm:prefix_cache_queries_total").await, 802.0);
    assert_eq!(world.metric("vllm:generation_tokens_total").await, 80.0);
    assert_eq!(world.metric("vllm:kv_cache_usage_perc").await, 0.0, "nobody is running");
    let exposition = world.get("/metrics").await.text().await.unwrap();
    assert!(exposition.contains("block_size=\"16\",num_gpu_blocks=\"65536\""), "{exposition}");
}

#[tokio::test]
async fn a_small_cache_evicts_the_least_recently_used_prompt_from_its_end() {
    // Sixteen blocks; a prompt of six and its answer of one take seven.
    let world = World::with(|config| config.kv_cache_tokens = Tokens(16 * 16)).await;
    let ask = async |letter: &str| {
        usage(&world.ask("/v1/completions", &completion(&letter.repeat(64 * 6), json!({}))).await).1
    };
    assert_eq!((ask("a").await, ask("b").await), (0, 0), "fourteen blocks");
    assert_eq!(ask("a").await, 80);
    assert_eq!(ask("c").await, 0, "takes the place of b");
    assert_eq!(ask("a").await, 80);
    assert!(ask("b").await < 80);
}

/// What one who only listens to the events believes.
#[derive(Default)]
pub(crate) struct Believed {
    pub(crate) held: HashSet<BlockHash>,
    next: u64,
}

/// Takes in what was told so far.
pub(crate) fn hear(batches: &mut Receiver<Arc<KvBatch>>, believed: &mut Believed) {
    while let Ok(batch) = batches.try_recv() {
        assert_eq!(batch.sequence, believed.next, "none is lost");
        believed.next += 1;
        for event in &batch.events {
            match event {
                KvEvent::Stored { blocks, .. } => believed.held.extend(blocks.iter().copied()),
                KvEvent::Removed { blocks } => {
                    blocks.iter().for_each(|block| assert!(believed.held.remove(block), "it was there"));
                }
                KvEvent::Cleared => believed.held.clear(),
            }
            assert!(believed.held.len() <= 64, "never more than the cache holds");
        }
    }
}

/// What one who only listens to the events believes the cache to hold, and what it reports, never part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_under_concurrency_and_eviction_is_what_the_events_tell() {
    let world = World::with(|config| {
        config.kv_cache_tokens = Tokens(16 * 64);
        config.max_running = 8;
    })
    .await;
    let (mut batches, mut believed) = (world.worker.kv_batches(), Believed::default());
    let mut asking = FuturesUnordered::new();
    for number in 0..400 {
        let text = format!("{}{}", "s".repeat(64 * (number % 5)), number.to_string().repeat(64));
        let body = chat(&text, json!({"max_tokens": 1 + number % 40, "stream": number % 3 == 0}));
        let world = &world;
        asking.push(async move {
            world.try_post("/v1/chat/completions", &body).await.unwrap().text().await.unwrap()
        });
        if asking.len() == 16 {
            asking.next().await;
            hear(&mut batches, &mut believed);
        }
    }
    while asking.next().await.is_some() {}
    world.worker.idle().await;
    hear(&mut batches, &mut believed);
    assert!(believed.next > 400, "{} batches", believed.next);
    let counters = world.worker.counters();
    assert_eq!(counters.requests, 400);
    assert_eq!(world.metric("vllm:prefix_cache_hits_total").await, counters.cached_tokens as f64);
    // All of it can be had again: nobody holds a block any more.
    let all = completion(&"w".repeat(64 * 63), json!({"max_tokens": 16}));
    assert_eq!(usage(&world.ask("/v1/completions", &all).await).0, 63 * 16);
}

#[tokio::test]
async fn a_client_that_stalls_in_a_stream_of_70_mb_makes_the_worker_hold_next_to_nothing() {
    let world = World::with(|config| config.chunk_bytes = 1 << 10).await;
    let body = chat("a long story", json!({"stream": true, "max_tokens": 70_000}));
    let mut stream = world.try_post("/v1/chat/completions", &body).await.unwrap().bytes_stream();
    let mut bytes = stream.next().await.unwrap().unwrap().len();
    // It has begun, and will not end before it is read: what was not sent is not made either.
    assert_eq!(world.worker.in_flight(), 1);
    assert_eq!(world.metric("vllm:generation_tokens_total").await, 0.0);
    while let Some(piece) = stream.next().await {
        bytes += piece.unwrap().len();
    }
    assert!(bytes > 70 << 20, "{bytes} bytes");
    world.worker.idle().await;
}
