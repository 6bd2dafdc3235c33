//! Errors that the gateway makes itself: OpenAI's shape, a hint, a code in a header.

use warmroute_gateway::GatewayConfig;

use crate::client::{Answer, get, metric, post, request, send};
use crate::fleet::gateway_with;
use crate::worker::{Act, Worker};

pub(crate) fn assert_shape(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    let error = &answer.json()["error"];
    assert!(error["message"].as_str().unwrap().contains("hint: "), "{error}");
    assert!(error["type"].is_string() && error.get("param").is_some(), "{error}");
    assert_eq!(
        (error["code"].as_str(), answer.header("x-warmroute-error-code")),
        (Some(code), code),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_gets_openais_error_shape_and_no_worker_hears_of_it() {
    let worker = Worker::start(Act::json("{}")).await;
    let strict = |config: &mut GatewayConfig| {
        config.max_body_bytes = 1024;
        config.other_paths = false;
    };
    let gateway = gateway_with(&[&worker], strict).await;
    let to = gateway.address();

    assert_shape(&post(to, "/v1/completions", "{\"prompt\": \"x").await, 400, "invalid_json");
    assert_shape(&post(to, "/v1/chat/completions", "").await, 400, "invalid_json");
    assert_shape(&get(to, "/v2/anything").await, 404, "unknown_url");
    assert_shape(&get(to, "/v1/completions").await, 405, "method_not_allowed");
    assert_shape(&send(to, request("DELETE", "/health", "")).await.whole().await, 405, "method_not_allowed");
    let large = format!("{{\"prompt\":\"{}\"}}", "x".repeat(2048));
    assert_shape(&post(to, "/v1/completions", large).await, 413, "payload_too_large");

    assert!(worker.seen().is_empty());
    let refused = "warmroute_requests_total{worker=\"none\",policy=\"none\",code=\"400\"}";
    assert_eq!(metric(to, refused).await, 2.0);
    assert_eq!(gateway.in_flight(), 0);
}
