//! How time is spent: step by step as the simulator's engine, or seat by seat.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;
use warmroute_kv::Tokens;
use warmroute_kv::timed::{EngineModel, StepTime};
use warmroute_worker::emulated::Pace;

use crate::world::{World, completion, usage};

/// Milliseconds of paused time that `work` takes.
async fn took(work: impl Future) -> f64 {
    let began = Instant::now();
    work.await;
    began.elapsed().as_secs_f64() * 1e3
}

fn steps(speed: f64) -> Pace {
    Pace::Steps { time: StepTime::Model(EngineModel::H100), speed }
}

/// Real sockets under a paused clock: it stands still while anything can be done, and jumps when nothing can. A socket that
/// is not ready yet counts as nothing, so times are only bounded from below, and loosely from above.
fn about(ms: f64, expected: f64) {
    assert!((expected - 0.5..expected + 20.0).contains(&ms), "{ms} ms instead of {expected}");
}

#[tokio::test(start_paused = true)]
async fn a_prompt_and_its_answer_take_the_steps_of_the_model() {
    let world = World::with(|config| config.pace = steps(1.0)).await;
    let read = 12.0 + 0.04 + 0.044 * 160.0 + 160.0 * 80.0 * 0.6e-6;
    let grow = 12.0 + 0.04 + 76e-6 * 160.0;
    let one = completion(&"a".repeat(640), json!({"max_tokens": 5}));
    about(took(world.ask("/v1/completions", &one)).await, read + 4.0 * grow);
    let warm = 12.0 + 0.04 + 0.044 * 16.0;
    about(took(world.ask("/v1/completions", &one)).await, warm + 4.0 * grow);
}

#[tokio::test(start_paused = true)]
async fn twice_the_speed_is_half_the_time_and_rates_are_simple() {
    let world = World::with(|config| config.pace = steps(2.0)).await;
    let one = completion(&"a".repeat(6_400), json!({"max_tokens": 20}));
    about(took(world.ask("/v1/completions", &one)).await, (12.0 * 20.0 + 0.044 * 1_600.0) / 2.0);
    let time = StepTime::Rates { prompt_token_s: 1e-3, answer_token_s: 0.01 };
    let world = World::with(|config| config.pace = Pace::Steps { time, speed: 1.0 }).await;
    about(took(world.ask("/v1/completions", &one)).await, 1_600.0 + 19.0 * 10.0);
}

#[tokio::test(start_paused = true)]
async fn four_seats_of_50_ms_answer_twelve_requests_in_150_ms() {
    let world = World::with(|config| {
        config.pace = Pace::Fixed(Duration::from_millis(50));
        config.max_running = 4;
    })
    .await;
    let bodies: Vec<_> = (0..12).map(|number| completion(&number.to_string(), json!({}))).collect();
    let all = join_all(bodies.iter().map(|body| world.ask("/v1/completions", body)));
    about(took(all).await, 150.0);
}

#[tokio::test(start_paused = true)]
async fn past_seats_and_queue_there_is_429() {
    let world = World::with(|config| {
        config.pace = Pace::Fixed(Duration::from_secs(1));
        (config.max_running, config.max_waiting) = (2, 1);
    })
    .await;
    let body = completion("a", json!({}));
    let asked = join_all((0..5).map(|_| world.try_post("/v1/completions", &body))).await;
    let mut statuses: Vec<u16> = asked.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
}

#[tokio::test(start_paused = true)]
async fn requests_are_batched_share_what_was_read_and_end_though_answers_outgrow_the_cache() {
    let world = World::with(|config| {
        config.pace = steps(1.0);
        config.kv_cache_tokens = Tokens(16 * 40);
    })
    .await;
    let shared = "b".repeat(64 * 8);
    let bodies: Vec<_> =
        (0..6).map(|number| completion(&format!("{shared}{number}"), json!({"max_tokens": 200}))).collect();
    let answers = join_all(bodies.iter().map(|body| world.ask("/v1/completions", body))).await;
    for answer in &answers {
        assert_eq!((usage(answer).0, &answer["usage"]["completion_tokens"]), (129, &json!(200)));
    }
    assert!(world.metric("vllm:num_preemptions_total").await > 0.0, "six answers of 13 blocks do not fit");
    assert_eq!(world.metric("vllm:generation_tokens_total").await, 1_200.0);
    assert_eq!(world.metric("vllm:kv_cache_usage_perc").await, 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_gives_its_memory_back() {
    let world = World::with(|config| config.pace = steps(1.0)).await;
    let body = completion("c", json!({"max_tokens": 100_000, "stream": true}));
    let mut response = world.try_post("/v1/completions", &body).await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    assert_eq!(world.metric("vllm:num_requests_running").await, 1.0);
    drop(response);
    world.worker.idle().await;
    assert_eq!(world.metric("vllm:num_requests_running").await, 0.0);
}
