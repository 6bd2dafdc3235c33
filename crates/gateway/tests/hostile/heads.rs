//! Heads that are no HTTP, or more of it than anybody needs: hyper refuses them, and the connection ends.

use crate::client::Client;
use crate::worker::Worker;
use crate::{gateway, still_serves, within};

/// What it is, what is sent, and the status it gets.
type Case = (&'static str, String, u16);

fn lines(lines: &str) -> String {
    format!("POST /v1/completions HTTP/1.1\r\nhost: g\r\n{lines}\r\n\r\n{{}}")
}

fn cases() -> Vec<Case> {
    vec![
        ("bytes of another protocol", "\u{16}\u{3}\u{1} garbage\r\n\r\n".into(), 400),
        ("a method with a bracket", "G[T / HTTP/1.1\r\nhost: g\r\n\r\n".into(), 400),
        ("no version", "GET /v1/models\r\n\r\n".into(), 400),
        ("a version nobody knows", "GET /v1/models HTTP/3.7\r\nhost: g\r\n\r\n".into(), 400),
        ("words behind the version", "GET /v1/models HTTP/1.1 please\r\nhost: g\r\n\r\n".into(), 400),
        ("NUL in the target", "GET /v1/\0models HTTP/1.1\r\nhost: g\r\n\r\n".into(), 400),
        ("NUL in a value", lines("x-a: b\0c"), 400),
        ("NUL in a name", lines("x-\0a: b"), 400),
        ("a lone CR in a value", lines("x-a: b\rc: d"), 400),
        ("a space before the colon", lines("transfer-encoding : chunked"), 400),
        ("a folded line", lines("x-a: b\r\n c: d"), 400),
        ("a line that begins with a space", lines(" transfer-encoding: chunked"), 400),
        ("a line without a colon", lines("content-length 5"), 400),
        ("a line without a name", lines(": 5"), 400),
        ("a coding that only looks like chunked", lines("transfer-encoding: xchunked"), 400),
        ("chunked, but not last", lines("transfer-encoding: chunked, identity"), 400),
        ("a vertical tab before chunked", lines("transfer-encoding: \u{b}chunked"), 400),
        (
            "a coding in HTTP/1.0",
            "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        ("a negative length", lines("content-length: -5"), 400),
        ("a length with a sign", lines("content-length: +2"), 400),
        ("a length in hexadecimal", lines("content-length: 0x2"), 400),
        ("a length with words", lines("content-length: 2 bytes"), 400),
        ("an empty length", lines("content-length: "), 400),
        ("a length beyond all numbers", lines("content-length: 99999999999999999999"), 400),
        ("two lengths", lines("content-length: 2\r\ncontent-length: 3"), 400),
        ("two lengths in one", lines("content-length: 2, 3"), 400),
        ("a thousand headers", lines(&"x-a: b\r\n".repeat(1_000)), 431),
        ("a header of a megabyte", lines(&format!("x-a: {}", "b".repeat(1 << 20))), 431),
        ("a target of 100 kB", format!("GET /{} HTTP/1.1\r\nhost: g\r\n\r\n", "a".repeat(100_000)), 414),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused_by_its_status_and_reaches_no_worker() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    for (what, sent, status) in cases() {
        let mut client = Client::connect(&gateway).await;
        client.send(sent).await;
        let answer = client.answer().await.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(answer.status, status, "{what}");
        client.closed().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(worker.take(), Vec::<String>::new(), "{what}");
    }
    still_serves(&gateway, &worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_are_cut_off_after_what_a_head_may_be() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let mut client = Client::connect(&gateway).await;
    client.send("POST /v1/completions HTTP/1.1\r\n").await;
    let flood = within(async {
        let mut sent = 0;
        while sent < 256 << 20 {
            client.send("x-flood: 0123456789abcdef0123456789abcdef\r\n".repeat(1_000)).await;
            sent += 41_000;
            tokio::task::yield_now().await;
            if client.stream.try_read(&mut [0; 12]).is_ok() {
                break;
            }
        }
        sent
    });
    assert!(flood.await < 8 << 20, "it is cut off soon");
    still_serves(&gateway, &worker).await;
}
