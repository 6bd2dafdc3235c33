//! What is written down of requests.

use std::path::PathBuf;

use serde_json::{Value, json};
use warmroute_gateway::Keys;

use crate::client::{PROMPT, bare_request, metric, request, send};
use crate::fleet::{gateway_with, until, within};
use crate::worker::{Act, End, Worker};

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("warmroute-{name}-{}.jsonl", std::process::id()))
}

/// The lines of a log, which goes with this.
fn lines(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    std::fs::remove_file(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_one_line_whichever_way_it_ended() {
    let worker = Worker::start(Act::stream(
        &[
            "data: 1\n\n",
            "data: {\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n",
            "data: [DONE]\n\n",
        ],
        End::Clean,
    ))
    .await;
    let path = scratch("access");
    let gateway = gateway_with(&[&worker], |config| {
        config.set("access_log", path.to_str().unwrap()).unwrap();
        config.keys = Keys::from_pairs("team-a=sk-1").unwrap();
    })
    .await;
    let mut asked = request("POST", "/v1/completions?x=1", PROMPT);
    asked.headers_mut().insert("x-api-key", "sk-1".parse().unwrap());
    asked.headers_mut().insert("x-request-id", "mine".parse().unwrap());
    send(gateway.address(), asked.clone()).await.whole().await;
    send(gateway.address(), request("POST", "/v1/completions", PROMPT)).await.whole().await;
    *asked.body_mut() = http_body_util::Full::from("no JSON");
    send(gateway.address(), asked).await.whole().await;
    gateway.shutdown().await;

    let lines = lines(&path);
    let statuses: Vec<_> = lines.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 401, 400]);
    let told = &lines[0];
    for (field, value) in [
        ("request_id", json!("mine")),
        ("key", json!("team-a")),
        ("method", json!("POST")),
        ("path", json!("/v1/completions")),
        ("model", json!("m")),
        ("worker", json!(worker.address.to_string())),
        ("policy", json!("round_robin")),
        ("reason", json!("only")),
        ("attempts", json!(1)),
        ("prompt_tokens", json!(9)),
        ("output_tokens", json!(2)),
        ("body_bytes", json!(PROMPT.len())),
    ] {
        assert_eq!(told[field], value, "{field}");
    }
    assert!(told["ttft_ms"].as_f64().unwrap() <= told["duration_ms"].as_f64().unwrap(), "{told}");
    assert!(told["answer_bytes"].as_u64().unwrap() > 60, "{told}");
    assert_eq!((&lines[1]["key"], &lines[1]["worker"]), (&json!(null), &json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_left_is_written_down_as_such() {
    let worker = Worker::start(Act::Hang).await;
    let path = scratch("gone");
    let gateway =
        gateway_with(&[&worker], |config| config.set("access_log", path.to_str().unwrap()).unwrap()).await;
    let client = bare_request(gateway.address()).await;
    until(|| worker.seen().len() == 1).await;
    drop(client);
    within(worker.cancelled()).await;
    within(async {
        while gateway.in_flight() > 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
    gateway.shutdown().await;
    assert_eq!(lines(&path)[0]["status"], 499);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_written_for_replay_as_hashes_and_never_as_text() {
    let worker = Worker::start(Act::json(r#"{"usage":{"prompt_tokens":300,"completion_tokens":5}}"#)).await;
    let path = scratch("requests");
    let gateway =
        gateway_with(&[&worker], |config| config.set("request_log", path.to_str().unwrap()).unwrap()).await;
    for question in ["Why?", "How?"] {
        let prompt = "A secret about bicycles. ".repeat(40) + question;
        let body = json!({"model": "m", "prompt": prompt}).to_string();
        send(gateway.address(), request("POST", "/v1/completions", body)).await.whole().await;
    }
    assert_eq!(metric(gateway.address(), "warmroute_log_lines_dropped_total{log=\"request\"}").await, 0.0);
    gateway.shutdown().await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("secret") && !text.contains("bicycles"), "{text}");
    let lines = lines(&path);
    let ids: Vec<&Vec<Value>> = lines.iter().map(|line| line["hash_ids"].as_array().unwrap()).collect();
    assert_eq!((ids[0].len(), ids[0] == ids[1]), (3, true), "{lines:#?}");
    assert_eq!((&lines[0]["output_length"], &lines[0]["prompt_tokens"]), (&json!(5), &json!(300)));
    assert!(lines[0]["timestamp"].as_u64() <= lines[1]["timestamp"].as_u64());
}
