//! Bodies that are passed on as they come: whole, in bounded memory, and not begun twice.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{post, read_until, request, send};
use crate::errors::assert_shape;
use crate::fleet::{gateway, gateway_with, settings, until, within};
use crate::worker::{Act, Worker};

/// Longer than what is held.
fn sound() -> Vec<u8> {
    (0..=255_u8).cycle().take(3_000_000).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_of_any_bytes_passes_whole() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway(&[&worker]).await;
    let answer = post(gateway.address(), "/v1/audio/transcriptions", sound()).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "{}"));
    let seen = worker.seen().pop().unwrap();
    assert!(seen.body == sound());
    assert_eq!(seen.headers["content-length"], "3000000");
    assert_eq!(gateway.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_is_reached_before_the_body_has_ended_and_a_body_of_no_known_length_comes_in_chunks() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway(&[&worker]).await;
    let mut client = TcpStream::connect(gateway.address()).await.unwrap();
    let head = "POST /v1/audio/x HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n11170\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&[b'a'; 70_000]).await.unwrap();
    until(|| gateway.in_flight() == 1).await;
    client.write_all(b"\r\n3\r\nbcd\r\n0\r\n\r\n").await.unwrap();
    read_until(&mut client, "{}").await;
    let seen = worker.seen().pop().unwrap();
    assert_eq!((seen.body.len(), &seen.body[69_999..]), (70_003, &b"abcd"[..]));
    assert_eq!(seen.headers["transfer-encoding"], "chunked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_gone_is_passed_over_since_nothing_was_lost_yet() {
    let (gone, there) = (Worker::start(Act::json("{}")).await, Worker::start(Act::json("{}")).await);
    let gateway = gateway(&[&gone, &there]).await;
    gone.kill();
    for _ in 0..2 {
        assert_eq!(post(gateway.address(), "/v1/audio/x", sound()).await.status, 200);
    }
    assert!(there.seen().iter().all(|seen| seen.body == sound()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_in_the_middle_of_a_body_is_502_and_no_other_is_asked() {
    let (one, two) = (Worker::start(Act::Close).await, Worker::start(Act::Close).await);
    let gateway = gateway(&[&one, &two]).await;
    let answer = post(gateway.address(), "/v1/audio/x", sound()).await;
    assert_shape(&answer, 502, "worker_lost");
    assert_eq!(one.seen().len() + two.seen().len(), 1);
    assert_eq!(gateway.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_limit_is_413_whether_its_length_was_told_or_not() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway_with(&[&worker], |config| config.max_body_bytes = 100_000).await;
    let mut client = TcpStream::connect(gateway.address()).await.unwrap();
    client
        .write_all(b"POST /v1/audio/x HTTP/1.1\r\nhost: g\r\ncontent-length: 100001\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut client, "payload_too_large").await;
    let mut client = TcpStream::connect(gateway.address()).await.unwrap();
    client
        .write_all(b"POST /x HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n11170\r\n")
        .await
        .unwrap();
    client.write_all(&[b'a'; 70_000]).await.unwrap();
    client.write_all(b"\r\n11170\r\n").await.unwrap();
    client.write_all(&[b'a'; 70_000]).await.unwrap();
    read_until(&mut client, "payload_too_large").await;
    assert!(worker.seen().is_empty());
    until(|| gateway.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_in_the_middle_ends_its_request() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway(&[&worker]).await;
    let mut client = TcpStream::connect(gateway.address()).await.unwrap();
    client.write_all(b"POST /x HTTP/1.1\r\nhost: g\r\ncontent-length: 3000000\r\n\r\n").await.unwrap();
    client.write_all(&[b'a'; 100_000]).await.unwrap();
    until(|| gateway.in_flight() == 1).await;
    drop(client);
    until(|| gateway.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_refuses_a_long_body_early_is_heard() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = settings(&[format!("http://{}", listener.local_addr().unwrap())]);
    let worker = tokio_util::task::TaskTracker::new();
    worker.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut start = [0; 64];
            let _ = stream.read(&mut start).await;
            let healthy = start.starts_with(b"GET");
            let answer = if healthy { "200 OK\r\ncontent-length: 0" } else { "401 No\r\ncontent-length: 5" };
            let body = if healthy { "" } else { "shut!" };
            let _ = stream
                .write_all(format!("HTTP/1.1 {answer}\r\nconnection: close\r\n\r\n{body}").as_bytes())
                .await;
            if !healthy {
                // Keeps the connection open, and reads no further.
                std::future::pending::<()>().await;
            }
        }
    });
    let gateway = warmroute_gateway::start(config).await.unwrap();
    within(gateway.workers_up(1)).await;
    let answer = send(gateway.address(), request("POST", "/v1/audio/x", sound())).await.whole().await;
    assert_eq!((answer.status.as_u16(), answer.text()), (401, "shut!"));
}
