//! Traces, as a collector gets them: which spans, of whom, and what workers are told of them.

use http::HeaderMap;
use serde_json::Value;
use warmroute_gateway::{GatewayConfig, RunningGateway};

use crate::client::{complete, complete_coming, complete_with};
use crate::fleet::{gateway_with, within};
use crate::worker::{Act, End, Worker};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn context(flags: &str) -> HeaderMap {
    let value = format!("00-{TRACE}-00f067aa0ba902b7-{flags}").parse().unwrap();
    HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), value)])
}

async fn gateway(workers: &[&Worker], collector: &Worker) -> RunningGateway {
    let tell = |config: &mut GatewayConfig| config.set("otlp_endpoint", &collector.url()).unwrap();
    gateway_with(workers, tell).await
}

/// Everything the collector was told, once the gateway has ended.
async fn told(gateway: RunningGateway, collector: &Worker) -> Vec<Value> {
    within(gateway.shutdown()).await;
    let mut spans = Vec::new();
    for seen in collector.seen() {
        assert_eq!(
            (seen.path.as_str(), &seen.headers["content-type"]),
            ("/v1/traces", &"application/json".parse().unwrap())
        );
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        spans.extend(body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone());
    }
    spans
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a str {
    let all = span["attributes"].as_array().unwrap();
    let value =
        &all.iter().find(|attribute| attribute["key"] == key).unwrap_or_else(|| panic!("no {key} in {span}"))
            ["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str()).unwrap()
}

fn names(spans: &[Value]) -> Vec<&str> {
    spans.iter().map(|span| span["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_told_with_its_decision_and_each_attempt_and_the_worker_knows_which() {
    let (failing, well, collector) = (
        Worker::start(Act::Close).await,
        Worker::start(Act::json("{}")).await,
        Worker::start(Act::json("{}")).await,
    );
    let gateway = gateway(&[&failing, &well], &collector).await;
    // Round robin: one of two requests meets the failing worker first.
    while failing.seen().is_empty() {
        well.forget();
        assert_eq!(complete_with(gateway.address(), context("01")).await.status, 200);
    }
    let onwards = well.seen().pop().unwrap().headers["traceparent"].to_str().unwrap().to_owned();
    let spans = told(gateway, &collector).await;
    let spans = &spans[spans.len() - 4..];
    assert_eq!(names(spans), ["POST /v1/completions", "decide", "attempt", "attempt"]);
    assert!(spans.iter().all(|span| span["traceId"] == TRACE), "{spans:#?}");
    let (whole, parts) = spans.split_first().unwrap();
    assert_eq!(whole["parentSpanId"], "00f067aa0ba902b7");
    assert!(parts.iter().all(|part| part["parentSpanId"] == whole["spanId"]));
    assert_eq!(attribute(whole, "http.response.status_code"), "200");
    assert_eq!(attribute(whole, "warmroute.attempts"), "2");
    assert_eq!(attribute(&parts[0], "warmroute.policy"), "round_robin");
    assert_eq!(
        (&parts[1]["status"]["code"], attribute(&parts[1], "warmroute.worker")),
        (&2.into(), &*failing.address.to_string())
    );
    assert_eq!((&parts[2]["kind"], attribute(&parts[2], "http.response.status_code")), (&3.into(), "200"));
    assert_eq!(onwards, format!("00-{TRACE}-{}-01", parts[2]["spanId"].as_str().unwrap()));
    for span in spans {
        let time = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_worker_with_room_is_a_span() {
    let (worker, collector) =
        (Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await, Worker::start(Act::json("{}")).await);
    let gateway = gateway_with(&[&worker], |config| {
        config.set("otlp_endpoint", &collector.url()).unwrap();
        config.set("max_in_flight", "1").unwrap();
    })
    .await;
    let mut first = complete_coming(gateway.address()).await;
    first.piece().await;
    let second = async {
        let waiting = complete_coming(gateway.address());
        let let_go = async {
            while crate::client::metric(gateway.address(), "warmroute_queue_depth").await < 1.0 {}
            worker.act(Act::json("{}"));
            worker.go_on();
        };
        tokio::join!(waiting, let_go).0.whole().await
    };
    assert_eq!(within(second).await.status, 200);
    first.whole().await;
    let spans = told(gateway, &collector).await;
    assert_eq!(names(&spans).iter().filter(|name| **name == "queue").count(), 1, "{:?}", names(&spans));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_client_does_not_want_told_is_not_and_its_context_passes() {
    let (worker, collector) = (Worker::start(Act::json("{}")).await, Worker::start(Act::json("{}")).await);
    let gateway = gateway(&[&worker], &collector).await;
    complete_with(gateway.address(), context("00")).await;
    assert_eq!(worker.seen()[0].headers["traceparent"], context("00")["traceparent"]);
    assert_eq!(told(gateway, &collector).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_passes_unchanged_where_nobody_is_told_and_none_is_made() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway_with(&[&worker], |_| {}).await;
    complete_with(gateway.address(), context("01")).await;
    complete(gateway.address()).await;
    let seen = worker.seen();
    assert_eq!(seen[0].headers["traceparent"], context("01")["traceparent"]);
    assert!(!seen[1].headers.contains_key("traceparent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_harms_nobody() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway_with(&[&worker], |config| {
        config.set("otlp_endpoint", "http://127.0.0.1:1").unwrap();
    })
    .await;
    for _ in 0..100 {
        assert_eq!(complete(gateway.address()).await.status, 200);
    }
    within(gateway.shutdown()).await;
}
