//! What passes through is not changed, in either direction.

use http::HeaderValue;

use crate::client::{complete, complete_coming, metric, post, request, send};
use crate::fleet::{gateway, gateway_with};
use crate::worker::{Act, End, Worker};

const ANSWER: &str = r#"{ "id":"cmpl-1", "x_unknown":1e3,"choices":[{"text":"é \u00e9"}],
    "usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}} }"#;
const USAGE_EVENT: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":8}}}\n\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_and_its_request_pass_byte_for_byte() {
    let worker = Worker::start(Act::json(ANSWER)).await;
    let gateway = gateway(&[&worker]).await;
    let odd = "{\"unknown\" : [1.0e5,\t{\"a\":null}],\"messages\":[{\"content\":\"\\u0068i\",\"role\":\"user\"}], \"model\":\"m\" }\n";
    let mut asked = request("POST", "/v1/chat/completions?beta=1", odd);
    asked.headers_mut().insert("authorization", HeaderValue::from_static("Bearer k"));
    asked.headers_mut().insert("traceparent", HeaderValue::from_static("00-1-2-01"));
    asked.headers_mut().insert("x-request-id", HeaderValue::from_static("mine-1"));
    asked.headers_mut().insert("connection", HeaderValue::from_static("x-hop"));
    asked.headers_mut().insert("x-hop", HeaderValue::from_static("1"));

    let answer = send(gateway.address(), asked).await.whole().await;

    assert_eq!((answer.status.as_u16(), answer.text(), answer.clean), (200, ANSWER, true));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-request-id"), "mine-1");
    let [seen] = <[_; 1]>::try_from(worker.seen()).unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v1/chat/completions?beta=1"));
    assert_eq!(seen.body, odd);
    let sent = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(sent("authorization").as_deref(), Some("Bearer k"));
    assert_eq!(sent("traceparent").as_deref(), Some("00-1-2-01"));
    assert_eq!(sent("x-request-id").as_deref(), Some("mine-1"));
    assert_eq!(sent("host"), Some(worker.address.to_string()));
    assert_eq!(sent("content-length"), Some(odd.len().to_string()));
    assert_eq!((sent("x-hop"), sent("connection")), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_explains_where_it_came_from() {
    let worker = Worker::start(Act::json(ANSWER)).await;
    let gateway = gateway_with(&[&worker], |config| config.set("policy", "cache_aware").unwrap()).await;
    let answer = complete(gateway.address()).await;
    let explained = ["worker", "policy", "overlap-tokens", "reason", "attempts"]
        .map(|name| answer.header(&format!("x-warmroute-{name}")).to_owned());
    assert_eq!(explained, [&worker.address.to_string(), "cache_aware", "0", "only", "1"].map(str::to_owned));
    assert!(answer.header("x-warmroute-prompt-tokens").parse::<u32>().unwrap() > 0);
    assert_eq!(answer.header("x-request-id").len(), 36, "the gateway names requests that have no name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_passes_byte_for_byte_and_piece_by_piece() {
    let pieces = [": comment\n\n", "data: {\"a\":", "1}\r\n\r\n", USAGE_EVENT, "data: [DONE]\n\n"];
    let worker = Worker::start(Act::stream(&pieces, End::Wait)).await;
    let gateway = gateway(&[&worker]).await;

    let mut coming = complete_coming(gateway.address()).await;
    assert_eq!(coming.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(coming.headers["x-accel-buffering"], "no");
    let mut text = Vec::new();
    while text.len() < pieces.concat().len() {
        text.extend_from_slice(&coming.piece().await);
    }
    assert_eq!(
        String::from_utf8(text).unwrap(),
        pieces.concat(),
        "all of it is here while the stream is still open"
    );
    assert_eq!(gateway.in_flight(), 1);
    worker.go_on();
    let end = coming.whole().await;
    assert_eq!((end.text(), end.clean), ("", true));
    assert_eq!(gateway.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_read_on_the_way_streamed_or_not() {
    let worker = Worker::start(Act::json(ANSWER)).await;
    let gateway = gateway(&[&worker]).await;
    complete(gateway.address()).await;
    worker.act(Act::stream(&[USAGE_EVENT, "data: [DONE]\n\n"], End::Clean));
    complete(gateway.address()).await;
    let cached = async |which: &str| {
        metric(gateway.address(), &format!("warmroute_prompt_tokens_total{{cached=\"{which}\"}}")).await
    };
    assert_eq!((cached("all").await, cached("reported").await), (18.0, 12.0));
    assert_eq!(
        metric(gateway.address(), "warmroute_ttft_seconds_count").await,
        1.0,
        "only streams have a first token"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_whole() {
    let worker = Worker::start(Act::json(ANSWER)).await;
    let gateway = gateway(&[&worker]).await;
    let body = format!("{{\"model\":\"m\",\"prompt\":\"{}\"}}", "0123456789".repeat(300_000));
    assert_eq!(post(gateway.address(), "/v1/completions", body.clone()).await.text(), ANSWER);
    assert!(worker.seen()[0].body == body, "three megabytes arrive as they were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_own_errors_pass_unchanged_and_what_the_client_did_wrong_is_not_retried() {
    let refusing = Act::status(400, r#"{"error":{"message":"too long"}}"#);
    let (one, two) = (Worker::start(refusing.clone()).await, Worker::start(refusing).await);
    let gateway = gateway(&[&one, &two]).await;
    for (status, attempts) in [(400, "1"), (404, "1"), (422, "1"), (500, "2")] {
        let act = Act::status(status, r#"{"error":{"message":"too long"}}"#);
        one.act(act.clone());
        two.act(act);
        let answer = complete(gateway.address()).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, r#"{"error":{"message":"too long"}}"#));
        assert_eq!(answer.header("x-warmroute-error-code"), "(missing)", "this is not the gateway's error");
        assert_eq!(answer.header("x-warmroute-attempts"), attempts);
    }
    assert_eq!(one.seen().len() + two.seen().len(), 5);
    assert_eq!(gateway.in_flight(), 0);
}
