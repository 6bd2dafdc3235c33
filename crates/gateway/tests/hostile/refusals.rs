//! A request that is refused before its body was read: the client that sends all of it first still gets the answer, and not a reset.

use warmroute_gateway::Keys;

use crate::client::Client;
use crate::worker::Worker;
use crate::{gateway, still_serves, within};

/// More than all the buffers between two sockets hold.
const LONG: usize = 16 << 20;

fn head(lines: &str) -> String {
    format!("POST /v1/completions HTTP/1.1\r\nhost: g\r\n{lines}\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_long_is_413_once_all_of_it_was_sent() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |config| config.max_body_bytes = 1_000).await;
    let chunk = format!("{LONG:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(LONG));
    for sent in [
        head(&format!("content-length: {LONG}")) + &"x".repeat(LONG),
        head("transfer-encoding: chunked") + &chunk,
    ] {
        let mut client = Client::connect(&gateway).await;
        let all = within(tokio::io::AsyncWriteExt::write_all(&mut client.stream, sent.as_bytes())).await;
        all.expect("the gateway takes it all and drops it");
        let answer = client.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.code()), (413, "payload_too_large".into()));
        client.closed().await.expect("no reset");
    }
    still_serves(&gateway, &worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_key_is_told_so_though_its_body_comes_late() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |config| config.keys = Keys::from_pairs("me=sk-1").unwrap()).await;
    let mut client = Client::connect(&gateway).await;
    client.send(head(&format!("content-length: {LONG}"))).await;
    // The refusal is on its way before the first byte of the body.
    within(client.stream.readable()).await.unwrap();
    within(tokio::io::AsyncWriteExt::write_all(&mut client.stream, &vec![b'x'; LONG]))
        .await
        .expect("no reset");
    let answer = client.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.code()), (401, "invalid_api_key".into()));
    client.closed().await.expect("no reset");
    assert_eq!(worker.take(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_before_sending_is_told_without_having_sent() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |config| config.max_body_bytes = 1_000).await;
    let mut client = Client::connect(&gateway).await;
    client.send(head("expect: 100-continue\r\ncontent-length: 1000000")).await;
    let answer = client.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.code()), (413, "payload_too_large".into()));
}
