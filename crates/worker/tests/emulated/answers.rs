//! The shapes of answers, whole and streamed, on every surface.

use serde_json::{Value, json};

use crate::world::{World, chat, completion, events};

#[tokio::test]
async fn the_same_prompt_gets_the_same_answer_whole_and_streamed_whatever_is_cached() {
    let world = World::new().await;
    let prompt = "x".repeat(500);
    let whole = world.ask("/v1/chat/completions", &chat(&prompt, json!({"max_tokens": 9}))).await;
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert_eq!((text.len(), &whole["choices"][0]["finish_reason"]), (36, &json!("length")));
    let streamed =
        chat(&prompt, json!({"max_tokens": 9, "stream": true, "stream_options": {"include_usage": true}}));
    let stream = world.stream("/v1/chat/completions", &streamed).await;
    assert!(stream.ends_with("data: [DONE]\n\n"));
    let events = events(&stream);
    let said: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, text);
    assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 9);
    let other = world.ask("/v1/chat/completions", &chat("another", json!({"max_tokens": 9}))).await;
    assert_ne!(other["choices"][0]["message"]["content"], text.as_str());
}

#[tokio::test]
async fn an_open_answer_has_the_configured_length_and_tokens_the_configured_bytes() {
    let world = World::with(|config| {
        config.answer_tokens = warmroute_kv::Tokens(5);
        config.chunk_bytes = 100;
    })
    .await;
    let answer = world.ask("/v1/chat/completions", &chat("hi", json!({}))).await;
    assert_eq!(answer["choices"][0]["message"]["content"].as_str().unwrap().len(), 500);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let stream =
        world.stream("/v1/completions", &completion("hi", json!({"max_tokens": 3, "stream": true}))).await;
    let texts: Vec<usize> =
        events(&stream).iter().map(|event| event["choices"][0]["text"].as_str().unwrap().len()).collect();
    assert_eq!(texts, [100, 100, 100, 0]);
}

#[tokio::test]
async fn tokenize_tells_what_usage_counts_and_takes_the_ids_back() {
    let world = World::new().await;
    let tokens = world.ask("/tokenize", &json!({"prompt": "five times the same. ".repeat(5)})).await;
    let prompt = completion(&"five times the same. ".repeat(5), json!({}));
    assert_eq!(world.ask("/v1/completions", &prompt).await["usage"]["prompt_tokens"], tokens["count"]);
    let again = world.ask("/v1/completions", &json!({"model": "emulated", "prompt": tokens["tokens"]})).await;
    assert_eq!(again["usage"]["prompt_tokens_details"]["cached_tokens"], 16, "of 27 tokens");
}

#[tokio::test]
async fn responses_have_an_id_name_the_one_before_and_stream_named_events() {
    let world = World::new().await;
    let input = json!({"model": "emulated", "input": "y".repeat(256), "previous_response_id": "resp_before"});
    let answer = world.ask("/v1/responses", &input).await;
    assert!(answer["id"].as_str().unwrap().starts_with("resp_"));
    assert_eq!((&answer["object"], &answer["status"]), (&json!("response"), &json!("completed")));
    assert_eq!(answer["previous_response_id"], "resp_before");
    let text = answer["output"][0]["content"][0]["text"].as_str().unwrap();
    assert_eq!(text.len(), 64);
    let mut streamed = input.clone();
    streamed["stream"] = true.into();
    let events = events(&world.stream("/v1/responses", &streamed).await);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["response.created", "response.in_progress", "response.output_item.added"]);
    let said: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    let last = events.last().unwrap();
    assert_eq!((last["type"].as_str(), said.as_str()), (Some("response.completed"), text));
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], text);
    assert_eq!(last["response"]["usage"]["input_tokens_details"]["cached_tokens"], 48);
}

#[tokio::test]
async fn messages_have_anthropics_shape_and_count_what_was_cached_apart() {
    let world = World::new().await;
    let body = json!({"model": "emulated", "max_tokens": 3, "system": "z".repeat(256),
        "messages": [{"role": "user", "content": "hi"}]});
    let cold = world.ask("/v1/messages", &body).await;
    assert_eq!((&cold["type"], &cold["stop_reason"]), (&json!("message"), &json!("max_tokens")));
    assert_eq!(cold["usage"]["cache_read_input_tokens"], 0);
    let prompt = cold["usage"]["input_tokens"].as_u64().unwrap();
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let stream = world.stream("/v1/messages", &streamed).await;
    assert!(stream.starts_with("event: message_start\ndata: "), "{stream}");
    let events = events(&stream);
    let usage = &events[0]["message"]["usage"];
    assert_eq!(usage["cache_read_input_tokens"], 64);
    assert_eq!(usage["input_tokens"].as_u64().unwrap(), prompt - 64);
    let said: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(cold["content"][0]["text"], said.as_str());
    assert_eq!(events.last().unwrap()["type"], "message_stop");
}

#[tokio::test]
async fn embeddings_ranks_and_transcripts_are_small_and_well_formed() {
    let world = World::new().await;
    let vectors =
        world.ask("/v1/embeddings", &json!({"model": "emulated", "input": ["one", "two", "one"]})).await;
    let of = |index: usize| &vectors["data"][index]["embedding"];
    assert!(of(0) == of(2) && of(0) != of(1) && of(0).as_array().unwrap().len() == 8);
    assert!(vectors["usage"]["prompt_tokens"].as_u64().unwrap() > 0);
    let asked =
        json!({"model": "emulated", "query": "q", "documents": ["a", {"text": "b"}, "c"], "top_n": 2});
    let ranks = world.ask("/v1/rerank", &asked).await;
    let scores: Vec<f64> = ranks["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["relevance_score"].as_f64().unwrap())
        .collect();
    assert!(scores.len() == 2 && scores[0] >= scores[1], "{ranks}");
    let sound = world.client().post(world.url("/v1/audio/transcriptions")).body(vec![255_u8; 5_000]);
    let transcript: Value = serde_json::from_str(&sound.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(transcript["text"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_openais_shape() {
    let world = World::new().await;
    for (path, body, status, code) in [
        ("/v1/chat/completions", json!({"model": "other", "messages": []}), 404, "model_not_found"),
        (
            "/v1/chat/completions",
            chat("hi", json!({"max_tokens": 2_000_000})),
            400,
            "context_length_exceeded",
        ),
        ("/v1/responses", json!([]), 400, "invalid_json"),
        ("/v1/nothing", json!({}), 404, "unknown_url"),
        ("/v1/models", json!({}), 405, "method_not_allowed"),
        ("/faults", json!({"fault": "stall"}), 404, "unknown_url"),
    ] {
        let response = world.try_post(path, &body).await.unwrap();
        assert!(response.headers().contains_key("x-request-id"));
        let (got, text) = (response.status().as_u16(), response.text().await.unwrap());
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((got, &error["error"]["code"]), (status, &json!(code)), "{path}: {text}");
    }
    let models: Value = serde_json::from_str(&world.get("/v1/models").await.text().await.unwrap()).unwrap();
    assert_eq!(models["data"][0]["id"], "emulated");
    assert_eq!(world.get("/health").await.status(), 200);
}
