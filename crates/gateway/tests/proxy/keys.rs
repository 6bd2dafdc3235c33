//! Clients that must show a key: who gets in, who does not, and what the worker sees of it.

use serde_json::json;
use warmroute_gateway::{Keys, RunningGateway};

use crate::client::{Answer, PROMPT, get, metric, request, send};
use crate::fleet::gateway_with;
use crate::worker::{Act, Worker};

const USAGE: &str = r#"{"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;

async fn ask(gateway: &RunningGateway, header: &str, value: &str) -> Answer {
    let mut asked = request("POST", "/v1/completions", PROMPT);
    if !header.is_empty() {
        asked
            .headers_mut()
            .insert(http::HeaderName::from_bytes(header.as_bytes()).unwrap(), value.parse().unwrap());
    }
    send(gateway.address(), asked).await.whole().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_known_key_gets_in_and_metrics_tell_whose_it_was() {
    let worker = Worker::start(Act::json(USAGE)).await;
    let gateway =
        gateway_with(&[&worker], |config| config.keys = Keys::from_pairs("team-a=sk-1").unwrap()).await;
    for (header, value, status) in [
        ("authorization", "Bearer sk-1", 200),
        ("x-api-key", "sk-1", 200),
        ("authorization", "Bearer sk-2", 401),
        ("", "", 401),
    ] {
        let answer = ask(&gateway, header, value).await;
        assert_eq!(answer.status.as_u16(), status, "{header}: {value}");
        if status == 401 {
            let error = &answer.json()["error"];
            assert_eq!(
                (&error["code"], &error["type"]),
                (&json!("invalid_api_key"), &json!("invalid_request_error"))
            );
            assert!(error["message"].as_str().unwrap().contains("hint: "), "{error}");
        }
    }
    assert_eq!(get(gateway.address(), "/v1/models").await.status, 401);
    assert_eq!(get(gateway.address(), "/readyz").await.status, 200, "probes have no key");
    assert_eq!(worker.seen().len(), 2);
    let seen = &worker.seen()[0].headers;
    assert_eq!(
        seen["authorization"], "Bearer sk-1",
        "a worker without a key of its own may want the client's"
    );
    let at = gateway.address();
    assert_eq!(metric(at, "warmroute_key_requests_total{key=\"team-a\",code=\"200\"}").await, 2.0);
    assert_eq!(metric(at, "warmroute_key_tokens_total{key=\"team-a\",of=\"answer\"}").await, 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_key_of_its_own_sees_that_and_never_the_clients() {
    let worker = Worker::start(Act::json(USAGE)).await;
    let gateway = gateway_with(&[&worker], |config| {
        config.workers[0].api_key = Some("sk-worker".parse().unwrap());
        config.keys = Keys::from_pairs("team-a=sk-1").unwrap();
    })
    .await;
    ask(&gateway, "x-api-key", "sk-1").await;
    let seen = &worker.seen()[0].headers;
    assert_eq!(seen["authorization"], "Bearer sk-worker");
    assert!(!seen.contains_key("x-api-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_has_used_up_is_refused_with_a_time_to_come_back() {
    let worker = Worker::start(Act::json(USAGE)).await;
    let file = std::env::temp_dir().join(format!("warmroute-limits-{}", std::process::id()));
    std::fs::write(&file, format!("team-a {} tokens_per_minute=12\n", sha256("sk-1"))).unwrap();
    let gateway =
        gateway_with(&[&worker], |config| config.set("keys_file", file.to_str().unwrap()).unwrap()).await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ask(&gateway, "x-api-key", "sk-1").await.status, 200);
    let refused = ask(&gateway, "x-api-key", "sk-1").await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["error"]["code"]),
        (429, &json!("rate_limit_exceeded"))
    );
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
}

/// As `sha256sum` prints it.
pub(crate) fn sha256(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
