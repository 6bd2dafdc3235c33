//! What the prefix cache may change: the time and `cached_tokens`, never an answer.

use futures_util::future::join_all;
use serde_json::json;
use warmroute_kv::{KvEvent, Tokens};

use crate::world::{World, prose};

#[tokio::test]
async fn the_second_equal_request_computes_only_what_whole_blocks_do_not_cover() {
    let world = World::new().await;
    let prompt = prose(1, 100);
    let cold = world.complete(&prompt, json!({})).await;
    let warm = world.complete(&prompt, json!({})).await;
    let salted = world.complete(&prompt, json!({ "cache_salt": "of its own" })).await;
    let whole_blocks = (warm.prompt() - 1) / 16 * 16;
    assert!(whole_blocks >= 96, "the prompt is too short to show anything");
    assert_eq!((cold.cached(), warm.cached(), salted.cached()), (0, whole_blocks, 0));
    assert_eq!(warm.text(), cold.text());
    assert_eq!(salted.text(), cold.text());
    assert_eq!(world.metric("vllm:prefix_cache_hits_total").await as u64, whole_blocks);
    assert_eq!(world.metric("vllm:prefix_cache_queries_total").await as u64, 3 * warm.prompt());
}

#[tokio::test]
async fn a_reset_cache_is_cold() {
    let world = World::new().await;
    let mut batches = world.worker.kv_batches();
    let prompt = prose(1, 60);
    let first = world.complete(&prompt, json!({})).await;
    assert!(world.post("/reset_prefix_cache", &json!({})).await.status().is_success());
    let second = world.complete(&prompt, json!({})).await;
    assert_eq!((second.cached(), second.text()), (0, first.text()));
    let mut told = Vec::new();
    while let Ok(batch) = batches.try_recv() {
        assert_eq!(batch.sequence, told.len() as u64, "batches are numbered without gaps");
        told.push(batch.events.clone());
    }
    assert!(matches!(told[0][0], KvEvent::Stored { .. }));
    assert!(told.concat().contains(&KvEvent::Cleared));
}

/// 8 prefixes, each asked twice in a row and again later, all at once, in a cache that holds a fraction of them.
#[tokio::test]
async fn concurrent_answers_equal_uncached_ones_while_blocks_are_evicted() {
    let world = World::with(|config| {
        config.kv_cache_tokens = Tokens(40 * 16);
        config.prefill_chunk_tokens = Tokens(48);
    })
    .await;
    let prompts: Vec<String> = (0..32).map(|n| prose(n / 2 % 8, 90) + &prose(100 + n, 5 + n % 7)).collect();
    let mut expected = Vec::new();
    for (number, prompt) in prompts.iter().enumerate() {
        let salted = world.complete(prompt, json!({ "cache_salt": number.to_string() })).await;
        assert_eq!(salted.cached(), 0);
        expected.push(salted);
    }
    for round in 0..2 {
        let answers = join_all(prompts.iter().map(|prompt| world.complete(prompt, json!({})))).await;
        for (number, (answer, expected)) in answers.iter().zip(&expected).enumerate() {
            assert_eq!(
                answer.text(),
                expected.text(),
                "request {number} of round {round}: {:?}",
                answer.0["usage"]
            );
        }
        let cached: u64 = answers.iter().map(|answer| answer.cached()).sum();
        assert!(cached > 0, "nothing was reused in round {round}");
    }
    let evicted = world
        .metric("warmroute_worker_kv_blocks_total{model_name=\"warmroute-tiny\",change=\"removed\"}")
        .await;
    assert!(evicted > 100.0, "only {evicted} blocks were evicted");
}
