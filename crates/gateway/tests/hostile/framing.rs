//! Where one request ends and the next begins: what two readers could understand in two ways reaches a worker in one.

use crate::client::Client;
use crate::worker::Worker;
use crate::{gateway, plain, still_serves};

/// What a worker gets of a request with this body and no headers but its name.
fn as_sent_on(body: &str) -> String {
    format!(
        "POST /v1/completions HTTP/1.1\r\nhost: WORKER\r\nx-request-id: r\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

const BODY: &str = r#"{"model":"m","prompt":"x"}"#;

fn with(lines: &str, body: &str) -> String {
    format!("POST /v1/completions HTTP/1.1\r\nx-request-id: r\r\n{lines}\r\n\r\n{body}")
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_body_is_framed_a_worker_gets_it_with_its_length() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let length = BODY.len();
    let cases = [
        ("a length", with(&format!("content-length: {length}"), BODY)),
        (
            "the same length twice",
            with(&format!("content-length: {length}\r\ncontent-length: {length}"), BODY),
        ),
        (
            "lines that end in LF alone",
            with(&format!("content-length: {length}"), BODY).replace("\r\n", "\n"),
        ),
        ("chunks", with("transfer-encoding: chunked", &chunked(BODY))),
        ("chunks by another name", with("Transfer-Encoding: ChUnKeD", &chunked(BODY))),
        (
            "one byte to a chunk, with extensions and trailers",
            with(
                "transfer-encoding: chunked",
                &(BODY.chars().map(|byte| format!("1;a=\"b\";c\r\n{byte}\r\n")).collect::<String>()
                    + "0\r\nx-late: 1\r\n\r\n"),
            ),
        ),
        (
            "a length that the connection header names",
            with(&format!("connection: content-length, keep-alive\r\ncontent-length: {length}"), BODY),
        ),
        (
            "an offer of h2c",
            with(&format!("connection: upgrade\r\nupgrade: h2c\r\ncontent-length: {length}"), BODY),
        ),
    ];
    for (what, sent) in cases {
        let mut client = Client::connect(&gateway).await;
        client.send(sent).await;
        assert_eq!(
            client.answer().await.unwrap_or_else(|| panic!("{what}: no answer")).status,
            200,
            "{what}"
        );
        assert_eq!(worker.take(), [as_sent_on(BODY)], "{what}");
    }
}

/// CL.TE and TE.CL: the chunks count, and what stands behind them is nobody's request.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_both_length_and_chunks_is_one_request_and_the_last() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let smuggled = plain("smuggled");
    for lines in
        ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"]
    {
        let mut client = Client::connect(&gateway).await;
        client.send(with(lines, &(chunked(BODY) + &smuggled))).await;
        assert_eq!(client.answer().await.expect("an answer").status, 200, "{lines}");
        client.closed().await.unwrap();
        assert_eq!(worker.take(), [as_sent_on(BODY)], "{lines}");
    }
    // The other way round, the hidden request is the body.
    let mut client = Client::connect(&gateway).await;
    client.send(with("content-length: 4\r\ntransfer-encoding: chunked", &chunked(&smuggled))).await;
    let answer = client.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.code()), (400, "invalid_json".into()));
    assert_eq!(worker.take(), Vec::<String>::new());
    still_serves(&gateway, &worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_are_none_end_the_connection_and_reach_no_worker() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let long = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\n \r\n", "x".repeat(100)).repeat(1_000));
    let cases = [
        ("no number", "zz\r\n{}\r\n0\r\n\r\n"),
        ("a negative number", "-2\r\n{}\r\n0\r\n\r\n"),
        ("a number beyond all", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("longer than it says", "1\r\n{}\r\n0\r\n\r\n"),
        ("a size that ends in LF alone", "2\n{}\r\n0\r\n\r\n"),
        ("an extension of 64 kB", &long),
        ("a thousand extensions", &many),
    ];
    for (what, body) in cases {
        let mut client = Client::connect(&gateway).await;
        client.send(with("transfer-encoding: chunked", body)).await;
        let answer = client.answer().await.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!((answer.status, answer.code()), (400, "body_incomplete".into()), "{what}");
        client.closed().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(worker.take(), Vec::<String>::new(), "{what}");
    }
    still_serves(&gateway, &worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_length_that_is_too_short_is_a_request_of_its_own() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let mut client = Client::connect(&gateway).await;
    client.send(with(&format!("content-length: {}", BODY.len()), &format!("{BODY}{BODY}"))).await;
    assert_eq!(client.answer().await.expect("an answer").status, 200);
    assert_eq!(client.answer().await.expect("an answer").status, 400);
    client.closed().await.unwrap();
    assert_eq!(worker.take(), [as_sent_on(BODY)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_shorter_than_its_length_reaches_no_worker() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let mut client = Client::connect(&gateway).await;
    client.send(with("content-length: 1000", BODY)).await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
    // Whether it still gets an answer is the race between both ends of its connection.
    if let Some(answer) = client.answer().await {
        assert_eq!((answer.status, answer.code()), (400, "body_incomplete".into()));
    }
    still_serves(&gateway, &worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_at_once_are_answered_one_after_the_other() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let names: Vec<String> = (0..50).map(|number| format!("p{number}")).collect();
    client.send(names.iter().map(|name| plain(name)).collect::<String>()).await;
    for name in &names {
        let answer = client.answer().await.expect("an answer");
        assert!(
            answer.status == 200 && answer.head.contains(&format!("x-request-id: {name}\r\n")),
            "{}",
            answer.head
        );
    }
    let seen = worker.take();
    assert_eq!(seen.len(), names.len());
    assert!(seen.iter().zip(&names).all(|(seen, name)| seen.contains(&format!("x-request-id: {name}\r\n"))));
}
