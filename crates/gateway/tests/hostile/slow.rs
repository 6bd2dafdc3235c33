//! Clients that take their time: each of their steps has a limit, which small pieces do not stretch.

use std::time::Duration;

use tokio::time::interval;
use warmroute_gateway::Millis;

use crate::client::Client;
use crate::worker::Worker;
use crate::{gateway, still_serves, within};

const SHORT: Millis = Millis(200);

/// Sends a byte now and then until the gateway says or does something.
async fn drip(client: &mut Client, byte: &str) {
    let mut pace = interval(Duration::from_millis(20));
    within(async {
        loop {
            tokio::select! {
                _ = client.stream.readable() => return,
                _ = pace.tick() => {}
            }
            client.send(byte).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_is_cut_off() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |config| config.client_idle_timeout_ms = SHORT).await;
    for begun in ["", "POST /v1/comp", "POST /v1/completions HTTP/1.1\r\nhost: g\r\nx-a: "] {
        let mut client = Client::connect(&gateway).await;
        client.send(begun).await;
        if !begun.is_empty() {
            drip(&mut client, "a").await;
        }
        assert!(client.answer().await.is_none(), "hyper closes without a word");
    }
    still_serves(&gateway, &worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_408() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |config| config.body_timeout_ms = SHORT).await;
    for (length, byte) in [("content-length: 100000", "x"), ("transfer-encoding: chunked", "1\r\nx\r\n")] {
        let mut client = Client::connect(&gateway).await;
        client.send(format!("POST /v1/completions HTTP/1.1\r\nhost: g\r\n{length}\r\n\r\n")).await;
        drip(&mut client, byte).await;
        let answer = client.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.code()), (408, "request_timeout".into()), "{length}");
        assert_eq!(worker.take(), Vec::<String>::new(), "{length}");
    }
    still_serves(&gateway, &worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_seats_wait_and_those_that_say_nothing_make_room() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |config| {
        config.max_connections = 4;
        config.client_idle_timeout_ms = SHORT;
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(Client::connect(&gateway).await);
    }
    still_serves(&gateway, &worker).await;
}
