//! What an emulated worker publishes is what its pool does, in order, however many ask and leave, and names the blocks that `/tokenize` tells.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use warmroute_kv::timed::{EngineModel, StepTime};
use warmroute_kv::wire::Form;
use warmroute_kv::{Namespace, Tokens};
use warmroute_worker::emulated::{EmulatedConfig, Pace};
use warmroute_worker::publish::{KvEndpoints, KvPublishing};

use crate::cache::{Believed as Pool, hear as hear_pool};
use crate::live::{hear, subscribe};
use crate::reader::{Believed, replay};
use crate::world::{World, chat, completion, usage};

const TOPIC: &str = "kv@here";

fn published(form: Form, pace: Pace) -> impl FnOnce(&mut EmulatedConfig) {
    move |config| {
        let port = || "tcp://127.0.0.1:0".parse().unwrap();
        config.kv_events = Some(KvPublishing {
            replay: Some(port()),
            topic: TOPIC.to_owned(),
            form,
            ..KvPublishing::at(port())
        });
        config.kv_cache_tokens = Tokens(16 * 64);
        config.max_running = 8;
        config.pace = pace;
    }
}

fn endpoints(world: &World) -> KvEndpoints {
    world.worker.kv_endpoints().unwrap().clone()
}

fn body(number: usize) -> Value {
    let text = format!("{}{}", "s".repeat(64 * (number % 5)), number.to_string().repeat(64));
    let salt = ["one", "two"].get(number % 7);
    chat(
        &text,
        json!({"max_tokens": 1 + number % 40, "stream": number.is_multiple_of(3), "cache_salt": salt}),
    )
}

/// Sixteen at once, every fourth of whom leaves with the first byte, in a cache for a few of them.
async fn crowd(world: &World, mut between: impl FnMut()) {
    let mut asking = FuturesUnordered::new();
    for number in 0..300 {
        asking.push(async move {
            let response = world.try_post("/v1/chat/completions", &body(number)).await.unwrap();
            if number % 4 > 0 {
                response.text().await.unwrap();
            }
        });
        if asking.len() == 16 {
            asking.next().await;
            between();
        }
    }
    while asking.next().await.is_some() {
        between();
    }
    world.worker.idle().await;
}

async fn what_is_published_is_what_the_pool_does(form: Form, pace: Pace) {
    let world = World::with(published(form, pace)).await;
    let (mut batches, mut pool) = (world.worker.kv_batches(), Pool::default());
    let mut live = subscribe(&endpoints(&world), TOPIC).await;
    crowd(&world, || hear_pool(&mut batches, &mut pool)).await;
    world.try_post("/reset_prefix_cache", &json!({})).await.unwrap();
    crowd(&world, || hear_pool(&mut batches, &mut pool)).await;
    hear_pool(&mut batches, &mut pool);
    let replayed = replay(&endpoints(&world), 0, TOPIC).await;
    let believed = Believed::of("emulated", &replayed);
    assert_eq!(believed.own, pool.held);
    // Whoever subscribes is not heard at once, so the first messages may be missing from what comes live.
    let heard = hear(&mut live, replayed.last().unwrap().0, TOPIC).await;
    assert_eq!(heard, replayed[replayed.len() - heard.len()..]);
    assert_eq!(replay(&endpoints(&world), 100, TOPIC).await, replayed[100..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instant_worker_publishes_maps_that_say_what_its_pool_does() {
    what_is_published_is_what_the_pool_does(Form::Map, Pace::Instant).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stepping_worker_publishes_lists_that_say_what_its_pool_does() {
    let pace = Pace::Steps { time: StepTime::Model(EngineModel::H100), speed: 1_000.0 };
    what_is_published_is_what_the_pool_does(Form::Array, pace).await;
}

/// The prompt's tokens as `/tokenize` tells them, of a body that asks for an answer.
async fn tokens(world: &World, body: &Value) -> Vec<u32> {
    let mut question = json!({"model": "emulated"});
    for key in ["messages", "prompt", "tools"] {
        if let Some(value) = body.get(key) {
            question[key] = value.clone();
        }
    }
    let told = world.ask("/tokenize", &question).await;
    serde_json::from_value(told["tokens"].clone()).unwrap()
}

#[tokio::test]
async fn what_is_reported_cached_is_what_events_and_tokenize_foretell() {
    let world = World::with(published(Form::Map, Pace::Instant)).await;
    let mut hits = 0;
    for number in 0..60 {
        let text = "w".repeat(64 * (number % 4)) + &"xyz".repeat(200 * (number % 3));
        let body = match number % 5 {
            0 => completion(&text, json!({"cache_salt": "mine"})),
            1 => completion(&text, json!({})),
            2 => chat(&text, json!({"tools": [{"type": "function", "function": {"name": "f"}}]})),
            _ => chat(&text, json!({"cache_salt": "mine"})),
        };
        let path = if body.get("prompt").is_some() { "/v1/completions" } else { "/v1/chat/completions" };
        let tokens = tokens(&world, &body).await;
        let believed = Believed::of("emulated", &replay(&endpoints(&world), 0, TOPIC).await);
        let salt = body["cache_salt"].as_str();
        let root = Namespace { model: "emulated", salt, ..Namespace::default() }.root();
        let foretold = believed.reusable(root, &tokens);
        let (prompt, cached) = usage(&world.ask(path, &body).await);
        assert_eq!((prompt, cached), (tokens.len().max(1) as u64, foretold), "request {number}");
        hits += cached;
    }
    assert!(hits > 1_000, "{hits}");
}

#[tokio::test]
async fn an_address_that_is_not_to_be_had_is_told_with_what_to_do() {
    let world = World::with(published(Form::Map, Pace::Instant)).await;
    let taken = endpoints(&world).events.parse().unwrap();
    let config = EmulatedConfig { kv_events: Some(KvPublishing::at(taken)), ..EmulatedConfig::default() };
    let refused = warmroute_worker::emulated::start(config).await.unwrap_err().to_string();
    assert!(refused.contains("cannot publish KV events at tcp://127.0.0.1:"), "{refused}");
    assert!(refused.contains("hint: "), "{refused}");
}
