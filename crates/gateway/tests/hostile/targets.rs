//! Odd targets and methods: a worker is asked for a path of its own, or not at all.

use crate::client::Client;
use crate::worker::Worker;
use crate::{gateway, still_serves};

const BODY: &str = r#"{"model":"m","prompt":"x"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_names_a_host_is_taken_for_its_path() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    for target in
        ["http://evil.example/v1/completions", "http://127.0.0.1:22/v1/completions", "/v1/completions"]
    {
        let mut client = Client::connect(&gateway).await;
        client
            .send(format!("POST {target} HTTP/1.1\r\nhost: a\r\nhost: b\r\nx-request-id: r\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len()))
            .await;
        assert_eq!(client.answer().await.expect("an answer").status, 200, "{target}");
        let wanted = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: WORKER\r\nx-request-id: r\r\ncontent-length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        assert_eq!(worker.take(), [wanted], "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_for_a_worker_is_answered_here() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let cases = [
        ("a tunnel", "CONNECT internal:22 HTTP/1.1\r\nhost: g\r\n\r\n", 501, "upgrade_unsupported"),
        (
            "WebSocket",
            "GET /v1/realtime HTTP/1.1\r\nhost: g\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            501,
            "upgrade_unsupported",
        ),
        ("the server itself", "OPTIONS * HTTP/1.1\r\nhost: g\r\n\r\n", 404, "unknown_url"),
        ("a method of ours", "DELETE /metrics HTTP/1.1\r\nhost: g\r\n\r\n", 405, "method_not_allowed"),
        (
            "a method nobody has",
            "BREW /v1/chat/completions HTTP/1.1\r\nhost: g\r\n\r\n",
            405,
            "method_not_allowed",
        ),
    ];
    for (what, sent, status, code) in cases {
        let mut client = Client::connect(&gateway).await;
        client.send(sent).await;
        let answer = client.answer().await.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}");
        assert_eq!(worker.take(), Vec::<String>::new(), "{what}");
    }
    still_serves(&gateway, &worker).await;
}
