//! A gateway in token mode before workers of ours: it counts the tokens that they count, and finds again what they have cached.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use warmroute_gateway::GatewayConfig;
use warmroute_worker::WorkerConfig;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/warmroute-tiny");
const TURNS: usize = 6;

type Asker = Client<HttpConnector, Full<Bytes>>;

async fn ask(client: &Asker, to: SocketAddr, path: &str, body: &Value) -> (Response<()>, Bytes) {
    let request = Request::post(format!("http://{to}{path}"))
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .expect("a request");
    let response = client.request(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    (Response::from_parts(head, ()), body.collect().await.expect("all of it").to_bytes())
}

fn number(answer: &Response<()>, header: &str) -> u64 {
    let value = answer.headers().get(header).unwrap_or_else(|| panic!("there is no {header}"));
    value.to_str().expect("a text").parse().expect("a number")
}

/// Goes through a conversation and checks every count on its way.
async fn talk(tokenizer: &str) {
    let worker = warmroute_worker::start(WorkerConfig::default()).await.expect("a worker starts");
    let file = format!(
        "listen = \"127.0.0.1:0\"\n[[workers]]\nurl = \"http://{}\"\n[[models]]\nname = \"warmroute-tiny\"\ntokenizer = \"{tokenizer}\"\n",
        worker.address()
    );
    let gateway = warmroute_gateway::start(GatewayConfig::from_toml(&file).expect("settings"));
    let gateway = gateway.await.expect("the gateway starts");
    gateway.workers_up(1).await;
    let client: Asker = Client::builder(TokioExecutor::new()).build_http();
    let mut messages = Vec::new();
    for turn in 0..TURNS {
        let said =
            format!("{turn}: And God said, Let there be light — and there was <|endoftext|>\n\n lumière. ")
                .repeat(3);
        messages.push(json!({"role": "user", "content": said}));
        let body = json!({"model": "warmroute-tiny", "messages": messages, "max_tokens": 4, "seed": 1});
        let (head, body) = ask(&client, gateway.address(), "/v1/chat/completions", &body).await;
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        let usage = &answer["usage"];
        assert_eq!(usage["prompt_tokens"], number(&head, "x-warmroute-prompt-tokens"), "turn {turn}");
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
        let overlap = number(&head, "x-warmroute-overlap-tokens");
        assert!(overlap.abs_diff(cached) <= 16, "turn {turn}: {overlap} predicted, {cached} cached");
        assert!(turn == 0 || overlap > 0, "turn {turn}");
        messages.push(answer["choices"][0]["message"].clone());
    }
    let body = json!({"model": "warmroute-tiny", "prompt": "In the beginning", "max_tokens": 1});
    let (head, body) = ask(&client, gateway.address(), "/v1/completions", &body).await;
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(answer["usage"]["prompt_tokens"], number(&head, "x-warmroute-prompt-tokens"));
    gateway.shutdown().await;
    worker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_counts_what_the_worker_counts() {
    talk(TINY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_tells_what_it_will_count() {
    talk("worker").await;
}
