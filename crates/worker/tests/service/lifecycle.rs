//! Starting, leaving, draining and dying.

use std::sync::Arc;

use serde_json::{Value, json};
use warmroute_worker::{WorkerConfig, WorkerError, WorkerModel, start};

use crate::world::{World, completion, events};

fn long_stream() -> Value {
    completion("In the beginning", json!({ "stream": true, "max_tokens": 1500 }))
}

#[tokio::test]
async fn a_worker_tells_what_it_serves() {
    let world = World::with(|config| config.aliases = vec!["default".to_owned()]).await;
    assert_eq!(world.get("/health").await.status(), 200);
    let models: Value = world.get("/v1/models").await.json().await.unwrap();
    let names: Vec<&Value> = models["data"].as_array().unwrap().iter().map(|card| &card["id"]).collect();
    assert_eq!(names, ["warmroute-tiny", "default"]);
    assert_eq!(models["data"][0]["max_model_len"], 2048);
    let version: Value = world.get("/version").await.json().await.unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let answer = world.complete("In", json!({ "model": "default" })).await;
    assert_eq!(answer.0["model"], "default");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let world = World::new().await;
    let mut stream = world.post("/v1/completions", &long_stream()).await;
    stream.chunk().await.unwrap().expect("a first token");
    assert_eq!(world.worker.in_flight(), 1);
    drop(stream);
    world.worker.idle().await;
    assert_eq!(world.metric("vllm:num_requests_running{").await, 0.0);
    assert_eq!(world.metric("vllm:num_requests_waiting{").await, 0.0);
    assert_eq!(world.metric("vllm:kv_cache_usage_perc{").await, 0.0);
    let aborted = "vllm:request_success_total{model_name=\"warmroute-tiny\",finished_reason=\"abort\"}";
    assert_eq!(world.metric(aborted).await, 1.0);
    assert!(world.metric("vllm:generation_tokens_total{").await < 1500.0, "it was cancelled, not finished");
}

#[tokio::test]
async fn a_client_that_leaves_before_its_first_token_frees_its_slot_too() {
    let world = World::with(|config| config.max_running = 1).await;
    let mut running = world.post("/v1/completions", &long_stream()).await;
    running.chunk().await.unwrap();
    let body = completion("waits", json!({}));
    let mut waiting = Box::pin(world.post("/v1/completions", &body));
    while world.worker.in_flight() < 2 {
        assert!(futures_util::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    drop(waiting);
    drop(running);
    world.worker.idle().await;
}

#[tokio::test]
async fn a_shutdown_lets_answers_end_and_takes_no_new_ones() {
    let world = World::new().await;
    let (url, client) = (world.url("/v1/completions"), world.client().clone());
    let mut stream = world.post("/v1/completions", &long_stream()).await;
    let begun = stream.chunk().await.unwrap().unwrap();
    let shutdown = world.worker.shutdown();
    let read = async {
        let refused = client.post(&url).body(completion("x", json!({})).to_string()).send().await.unwrap();
        let rest = stream.text().await.unwrap();
        (refused.status().as_u16(), rest)
    };
    let ((), (refused, rest)) = tokio::join!(shutdown, read);
    assert_eq!(refused, 503);
    let events = events(&(String::from_utf8(begun.to_vec()).unwrap() + &rest));
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "length");
    assert!(client.post(&url).send().await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_killed_worker_breaks_its_streams_and_closes_its_port() {
    let world = World::new().await;
    let (url, client) = (world.url("/health"), world.client().clone());
    let mut stream = world.post("/v1/completions", &long_stream()).await;
    stream.chunk().await.unwrap();
    world.worker.kill();
    assert!(stream.text().await.is_err(), "a clean end would pass for success");
    assert!(client.get(&url).send().await.is_err());
}

#[tokio::test]
async fn workers_of_one_process_share_the_weights_and_nothing_else() {
    let one = World::new().await;
    let model = one.worker.model();
    let other = World::with(|config| config.model = WorkerModel::Loaded(Arc::clone(&model))).await;
    let prompt = crate::world::prose(1, 50);
    let (first, second) = (one.complete(&prompt, json!({})).await, other.complete(&prompt, json!({})).await);
    assert_eq!(first.text(), second.text());
    assert_eq!(second.cached(), 0, "caches are per worker");
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let world = World::new().await;
    let address = world.worker.address();
    let config = WorkerConfig {
        listen: address,
        model: WorkerModel::Loaded(world.worker.model()),
        ..Default::default()
    };
    let error = start(config).await.unwrap_err();
    assert!(matches!(error, WorkerError::Listen { .. }));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
