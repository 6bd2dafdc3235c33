//! What an answer says, however it is delivered.

use serde_json::{Value, json};

use crate::world::{World, completion, events, prose};

/// The text of all chunks, at `path` within a chunk's first choice.
fn joined(events: &[Value], path: &str) -> String {
    events.iter().filter_map(|event| event["choices"][0].pointer(path)?.as_str()).collect()
}

#[tokio::test]
async fn a_streamed_completion_has_the_text_of_the_whole_one() {
    let world = World::new().await;
    let prompt = prose(1, 30);
    let whole = world.complete(&prompt, json!({})).await;
    let asked = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let response = world.post("/v1/completions", &completion(&prompt, asked)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events = events(&response.text().await.unwrap());
    assert_eq!(joined(&events, "/text"), whole.text());
    let (last, usage) = (&events[events.len() - 2], &events[events.len() - 1]);
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 24);
    assert_eq!(usage["usage"]["prompt_tokens"], whole.0["usage"]["prompt_tokens"]);
}

#[tokio::test]
async fn a_chat_stream_is_role_then_deltas_then_finish_then_usage() {
    let world = World::new().await;
    let mut body = json!({
        "model": "warmroute-tiny", "max_tokens": 20, "temperature": 0, "ignore_eos": true,
        "messages": [{ "role": "system", "content": "Speak plainly." }, { "role": "user", "content": "Who is king?" }],
    });
    let whole = world.ask("/v1/chat/completions", &body).await;
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let stream = world.post("/v1/chat/completions", &body).await.text().await.unwrap();
    let events = events(&stream);
    assert_eq!(whole["choices"][0]["message"]["content"], joined(&events, "/delta/content"));
    assert_eq!(whole["choices"][0]["message"]["role"], "assistant");
    assert_eq!(events[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    let (finish, usage) = (&events[events.len() - 2], &events[events.len() - 1]);
    assert_eq!(finish["choices"][0], json!({ "index": 0, "delta": {}, "finish_reason": "length" }));
    assert_eq!(usage["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]), "one id for all chunks");
}

#[tokio::test]
async fn a_stream_without_include_usage_ends_in_its_finish() {
    let world = World::new().await;
    let stream = world.post("/v1/completions", &completion("In the", json!({ "stream": true }))).await;
    let events = events(&stream.text().await.unwrap());
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "length");
    assert!(events.iter().all(|event| event.get("usage").is_none()));
}

#[tokio::test]
async fn text_from_a_stop_string_on_is_never_sent() {
    let world = World::new().await;
    let prompt = prose(2, 20);
    let free = world.complete(&prompt, json!({})).await;
    let text = free.text();
    // A stop that begins and ends inside words, so that it crosses token borders.
    let start = text.char_indices().nth(text.chars().count() / 2).unwrap().0;
    let stop: String = text[start..].chars().take(9).collect();
    let expected = &text[..text.find(&stop).unwrap()];
    let stopped = world.complete(&prompt, json!({ "stop": [stop, "never there"] })).await;
    assert_eq!((stopped.text(), stopped.finish()), (expected, "stop"));
    let asked = json!({ "stop": stop, "stream": true });
    let stream = world.post("/v1/completions", &completion(&prompt, asked)).await.text().await.unwrap();
    assert_eq!(joined(&events(&stream), "/text"), expected);
}

#[tokio::test]
async fn an_answer_ends_at_the_models_end_token_unless_told_otherwise() {
    let world = World::new().await;
    // Hot enough to meet the end token; seeds until one does.
    for seed in 0..200 {
        let ask = |ignore| json!({ "temperature": 2, "seed": seed, "max_tokens": 64, "ignore_eos": ignore });
        let ended = world.complete("Amen.", ask(false)).await;
        if ended.finish() == "stop" {
            let went_on = world.complete("Amen.", ask(true)).await;
            assert_eq!(went_on.0["usage"]["completion_tokens"], 64);
            assert!(went_on.text().starts_with(ended.text()), "{} / {}", went_on.text(), ended.text());
            assert!(!ended.text().contains("endoftext"));
            return;
        }
    }
    panic!("no seed met the end token");
}

#[tokio::test]
async fn a_seed_repeats_its_answer_and_no_seed_does_not() {
    let world = World::new().await;
    let ask = async |more: Value| world.complete("And it came to pass", more).await.text().to_owned();
    let seeded = json!({ "temperature": 1, "seed": 11, "top_p": 0.95 });
    let first = ask(seeded.clone()).await;
    assert_eq!(ask(seeded).await, first);
    assert_ne!(ask(json!({ "temperature": 1, "seed": 12, "top_p": 0.95 })).await, first);
    assert_ne!(ask(json!({ "temperature": 1 })).await, ask(json!({ "temperature": 1 })).await);
}

#[tokio::test]
async fn token_ids_and_text_give_the_same_answer() {
    let world = World::new().await;
    let prompt = prose(3, 25);
    let tokenized = world.ask("/tokenize", &json!({ "prompt": prompt })).await;
    let by_text = world.complete(&prompt, json!({})).await;
    let by_tokens = world.complete("", json!({ "prompt": tokenized["tokens"] })).await;
    assert_eq!(by_tokens.text(), by_text.text());
    assert_eq!(tokenized["count"], by_text.prompt());
}

#[tokio::test]
async fn tokenize_counts_a_chat_as_the_model_reads_it() {
    let world = World::new().await;
    let messages = json!([{ "role": "user", "content": "Who art thou?" }]);
    let tokenized = world.ask("/tokenize", &json!({ "messages": messages })).await;
    let body = json!({ "model": "warmroute-tiny", "messages": messages, "max_tokens": 1 });
    let answer = world.ask("/v1/chat/completions", &body).await;
    assert_eq!(tokenized["count"], answer["usage"]["prompt_tokens"]);
    assert_eq!(tokenized["max_model_len"], 2048);
}

#[tokio::test]
async fn a_chat_without_a_bound_ends_with_the_context() {
    let world = World::with(|config| config.kv_cache_tokens = warmroute_kv::Tokens(96)).await;
    let body = json!({
        "model": "warmroute-tiny", "messages": [{ "role": "user", "content": "Go on." }], "ignore_eos": true
    });
    let answer = world.ask("/v1/chat/completions", &body).await;
    assert_eq!(answer["usage"]["total_tokens"], 96, "the cache is the shorter bound here");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}
