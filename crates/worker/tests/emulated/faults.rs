//! Each fault does what it says, as a client sees it.

use std::error::Error as _;
use std::io::ErrorKind;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::world::{World, chat, events};

const CHAT: &str = "/v1/chat/completions";

/// The system's error at the bottom of a client's.
fn system_error(error: &reqwest::Error) -> Option<ErrorKind> {
    std::iter::successors(error.source(), |error| (*error).source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind)
        .last()
}

#[tokio::test]
async fn refuse_resets_a_connection_that_was_not_heard() {
    let world = World::failing("refuse:next=1").await;
    let mut socket = TcpStream::connect(world.worker.address()).await.unwrap();
    let ended = socket.read(&mut [0; 16]).await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
    world.ask(CHAT, &chat("hi", json!({}))).await;
}

#[tokio::test]
async fn hang_up_closes_the_connection_without_a_byte() {
    let world = World::failing("hang_up:next=1").await;
    let mut socket = TcpStream::connect(world.worker.address()).await.unwrap();
    let body = chat("hi", json!({})).to_string();
    let request = format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    // Closed with the body unread, which some systems tell as a reset.
    let _ = socket.read_to_end(&mut said).await;
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test(start_paused = true)]
async fn stall_says_nothing_for_as_long_as_it_was_told() {
    let world = World::failing("stall:next=1").await;
    let asked = timeout(Duration::from_secs(3_600), world.try_post(CHAT, &chat("hi", json!({})))).await;
    assert!(asked.is_err(), "for ever");
    world.worker.faults().add("stall:ms=5000".parse().unwrap());
    let began = Instant::now();
    world.ask(CHAT, &chat("hi", json!({}))).await;
    assert!(began.elapsed() >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn stall_midway_sends_the_first_token_and_then_nothing() {
    let world = World::failing("stall_midway").await;
    let mut response = world.try_post(CHAT, &chat("hi", json!({"stream": true}))).await.unwrap();
    let first = response.chunk().await.unwrap().unwrap();
    let texts = events(std::str::from_utf8(&first).unwrap());
    assert_eq!(texts.len(), 2, "the role and one token: {texts:?}");
    assert!(timeout(Duration::from_secs(3_600), response.chunk()).await.is_err());
    drop(response);
    world.worker.idle().await;
}

#[tokio::test]
async fn reset_midway_ends_a_stream_and_a_whole_answer_with_a_reset() {
    let world = World::failing("reset_midway").await;
    for stream in [true, false] {
        let response =
            world.try_post(CHAT, &chat("hi", json!({"stream": stream, "max_tokens": 50}))).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut pieces = response.bytes_stream();
        assert!(!pieces.next().await.unwrap().unwrap().is_empty(), "something came");
        let error = pieces.next().await.unwrap().unwrap_err();
        assert_eq!(system_error(&error), Some(ErrorKind::ConnectionReset), "stream {stream}: {error:?}");
    }
    world.worker.idle().await;
}

#[tokio::test]
async fn statuses_come_in_openais_shape_and_say_when_to_come_back() {
    for (status, code) in [(500, "internal_error"), (429, "overloaded"), (503, "not_ready")] {
        let world = World::failing(&format!("status_{status}:next=1")).await;
        let response = world.try_post(CHAT, &chat("hi", json!({}))).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().contains_key("retry-after"), status != 500);
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(error["error"]["code"], code);
        world.ask(CHAT, &chat("hi", json!({}))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_is_unready_for_a_while_or_slow() {
    let world = World::failing("unready:seconds=20").await;
    assert_eq!(world.get("/health").await.status(), 503);
    assert_eq!(world.try_post(CHAT, &chat("hi", json!({}))).await.unwrap().status(), 503);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(world.get("/health").await.status(), 200);

    let world = World::failing("slow:seconds=10,ms=700").await;
    let began = Instant::now();
    world.ask(CHAT, &chat("hi", json!({}))).await;
    assert!(began.elapsed() >= Duration::from_millis(700));
}

#[tokio::test]
async fn orders_are_taken_told_and_ended_at_faults() {
    let world = World::with(|config| config.allow_fault_injection = true).await;
    let told =
        world.ask("/faults", &json!([{"fault": "status_500", "next": 1}, {"fault": "stall", "p": 0}])).await;
    assert_eq!(
        told[0],
        json!({"fault": "status_500", "p": 1.0, "next": 1, "seconds": null, "ms": null, "struck": 0})
    );
    assert_eq!(world.try_post(CHAT, &chat("hi", json!({}))).await.unwrap().status(), 500);
    let told: Value = serde_json::from_str(&world.get("/faults").await.text().await.unwrap()).unwrap();
    assert_eq!((&told[0]["struck"], told.as_array().unwrap().len()), (&json!(1), 2));
    let wrong = world.try_post("/faults", &json!({"fault": "melt"})).await.unwrap();
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().await.unwrap().contains("hint: "));
    world.client().delete(world.url("/faults")).send().await.unwrap();
    assert!(world.worker.faults().in_force().is_empty());
}
