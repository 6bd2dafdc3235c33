//! Models whose prompts are tokenized here: what the router sees of them, and what happens where their tokens cannot be told.

use warmroute_gateway::{GatewayConfig, RunningGateway};

use crate::client::{Answer, metric, post};
use crate::fleet::gateway_with;
use crate::worker::{Act, Worker};

/// The tokenizer of the repository's own model, which has no chat template and so writes a line for each message.
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/warmroute-tiny");

/// Sixteen words that are a token each, with the spaces before them, but for the first.
const WORDS: &str = "the of and to in that he shall unto for I his a they be is";

async fn in_token_mode(workers: &[&Worker], tokenizer: &str) -> RunningGateway {
    let text = format!("[[models]]\nname = \"m\"\ntokenizer = \"{tokenizer}\"\n");
    let models = GatewayConfig::from_toml(&text).unwrap().models;
    gateway_with(workers, |config| config.models = models).await
}

async fn complete(gateway: &RunningGateway, prompt: &str) -> Answer {
    post(gateway.address(), "/v1/completions", format!(r#"{{"model":"m","prompt":{prompt}}}"#)).await
}

async fn fallbacks(gateway: &RunningGateway, cause: &str) -> f64 {
    let name = format!("warmroute_token_mode_fallbacks_total{{model=\"m\",cause=\"{cause}\"}}");
    metric(gateway.address(), &name).await
}

async fn mismatches(gateway: &RunningGateway, worker: &Worker) -> f64 {
    let name = format!("warmroute_tokenizer_mismatches_total{{worker=\"{}\"}}", worker.address);
    metric(gateway.address(), &name).await
}

/// Asks so often that whatever is counted after an answer has been counted.
async fn settled(gateway: &RunningGateway) {
    crate::fleet::until(|| gateway.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_are_measured_in_tokens_and_whole_blocks_are_found_again() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = in_token_mode(&[&worker], TINY).await;
    let prompt = |end: &str| format!("\"{WORDS} {WORDS} {WORDS} {end}\"");
    let first = complete(&gateway, &prompt("the")).await;
    assert_eq!((first.status.as_u16(), first.header("x-warmroute-overlap-tokens")), (200, "0"));
    let length: u32 = first.header("x-warmroute-prompt-tokens").parse().unwrap();
    assert!((49..64).contains(&length), "{length} tokens");
    settled(&gateway).await;
    let second = complete(&gateway, &prompt("of")).await;
    assert_eq!(second.header("x-warmroute-overlap-tokens"), "48");
    assert_eq!(second.header("x-warmroute-prompt-tokens").parse::<u32>().unwrap(), length);
    let escaped = complete(&gateway, &prompt("of").replace('h', "\\u0068")).await;
    assert_eq!(escaped.header("x-warmroute-overlap-tokens"), "48", "another spelling has the same tokens");
    let tokens = complete(&gateway, "[7, 8, 9]").await;
    assert_eq!(tokens.header("x-warmroute-prompt-tokens"), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_whose_tokens_cannot_be_told_is_routed_by_its_text_and_counted_with_the_cause() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = in_token_mode(&[&worker], TINY).await;
    assert_eq!(complete(&gateway, r#"["a", "b"]"#).await.status, 200);
    let image = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:x"}}]}]}"#;
    assert_eq!(post(gateway.address(), "/v1/chat/completions", image).await.status, 200);
    let going_on = r#"{"model":"m","previous_response_id":"resp_1","input":"a"}"#;
    assert_eq!(post(gateway.address(), "/v1/responses", going_on).await.status, 200);
    assert_eq!(post(gateway.address(), "/v1/embeddings", r#"{"model":"m","input":"a"}"#).await.status, 200);
    let message = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}]}"#;
    assert_eq!(post(gateway.address(), "/v1/chat/completions", message).await.status, 200);
    for cause in ["prompts", "media", "option"] {
        assert_eq!(fallbacks(&gateway, cause).await, 1.0, "{cause}");
    }
    assert_eq!(worker.seen().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_has_the_same_tokens_by_every_api() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = in_token_mode(&[&worker], TINY).await;
    let user = format!(r#"{{"role":"user","content":"{WORDS}"}}"#);
    let system = format!("{WORDS} {WORDS}");
    let bodies = [
        (
            "/v1/chat/completions",
            format!(r#"{{"model":"m","messages":[{{"role":"system","content":"{system}"}},{user}]}}"#),
        ),
        (
            "/v1/messages",
            format!(r#"{{"model":"m","max_tokens":1,"system":"{system}","messages":[{user}]}}"#),
        ),
        ("/v1/responses", format!(r#"{{"model":"m","instructions":"{system}","input":[{user}]}}"#)),
    ];
    for (place, (path, body)) in bodies.into_iter().enumerate() {
        let answer = post(gateway.address(), path, body).await;
        let length: u32 = answer.header("x-warmroute-prompt-tokens").parse().unwrap();
        assert!((60..70).contains(&length), "{length} tokens by {path}");
        let found = if place == 0 { "0" } else { "64" };
        assert_eq!(answer.header("x-warmroute-overlap-tokens"), found, "{path}");
        settled(&gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_prompt_is_tokenized_all_the_same() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = in_token_mode(&[&worker], TINY).await;
    for bytes in [100_000, 400_000] {
        let words = "the of and to in\n".repeat(bytes / 17).replace('\n', " \\n ");
        let answer = complete(&gateway, &format!("\"{words}\"")).await;
        let tokens: usize = answer.header("x-warmroute-prompt-tokens").parse().unwrap();
        assert!(tokens > bytes / 17 * 5, "{tokens} tokens of {bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_counts_other_tokens_is_told_of() {
    let right = Worker::start(Act::json(r#"{"usage":{"prompt_tokens":3,"completion_tokens":1}}"#)).await;
    let wrong = Worker::start(Act::json(r#"{"usage":{"prompt_tokens":4,"completion_tokens":1}}"#)).await;
    let gateway = in_token_mode(&[&right, &wrong], TINY).await;
    for _ in 0..4 {
        assert_eq!(complete(&gateway, "[7, 8, 9]").await.status, 200);
    }
    settled(&gateway).await;
    let in_text = post(gateway.address(), "/v1/completions", r#"{"model":"other","prompt":[7]}"#).await;
    assert_eq!(in_text.status, 200);
    settled(&gateway).await;
    assert_eq!(mismatches(&gateway, &wrong).await, 2.0);
    assert_eq!(mismatches(&gateway, &right).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_asked_for_tokens_and_text_serves_if_it_has_none() {
    let worker = Worker::start(Act::json(r#"{"count":5,"tokens":[1,2,3,4,5]}"#)).await;
    let gateway = in_token_mode(&[&worker], "worker").await;
    let answer = complete(&gateway, "\"Once upon a time\"").await;
    assert_eq!(answer.header("x-warmroute-prompt-tokens"), "5");
    let paths: Vec<_> = worker.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/tokenize", "/v1/completions"]);
    assert_eq!(worker.seen()[0].body, worker.seen()[1].body);
    let own = complete(&gateway, "[7, 8, 9]").await;
    assert_eq!(
        (own.header("x-warmroute-prompt-tokens"), worker.seen().len()),
        ("3", 3),
        "nobody need be asked"
    );

    worker.act(Act::json("{}"));
    for _ in 0..2 {
        assert_eq!(complete(&gateway, "\"Once upon a time\"").await.status, 200);
    }
    assert_eq!(fallbacks(&gateway, "worker").await, 2.0);
    assert_eq!(worker.seen().len(), 6, "it is left alone after it failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_does_not_start_without_a_tokenizer_that_it_needs() {
    let text =
        "[[models]]\nname = \"m\"\ntokenizer = \"/nowhere\"\n[[workers]]\nurl = \"http://127.0.0.1:1\"";
    let mut config = GatewayConfig::from_toml(text).unwrap();
    config.set("listen", "127.0.0.1:0").unwrap();
    let error = warmroute_gateway::start(config).await.err().unwrap().to_string();
    assert!(error.contains("model `m`: cannot read /nowhere") && error.contains("hint: "), "{error}");
}
