//! Bodies that are no JSON, or more of it than anybody needs. What an engine might accept reaches it byte for byte.

use crate::client::Client;
use crate::worker::Worker;
use crate::{gateway, still_serves};

fn chat(body: &[u8]) -> Vec<u8> {
    let mut sent =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: {}\r\n\r\n", body.len())
            .into_bytes();
    sent.extend_from_slice(body);
    sent
}

/// Content that nests so deep.
fn deep(depth: usize) -> Vec<u8> {
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":{open}{close}}}]}}"#).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_json_passes_byte_for_byte() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let content = |content: &[u8]| {
        [br#"{"model":"m","messages":[{"role":"user","content":""#, content, br#""}]}"#].concat()
    };
    let members: String = (0..100_000).map(|number| format!(r#""k{number}":{number},"#)).collect();
    let cases = [
        ("a thousand levels", deep(1_000)),
        ("bad UTF-8", content(b"\xff\xfe\x80 \xc3( \xed\xa0\x80")),
        ("lone surrogates", content(br"\ud800 \udfff\ud83d")),
        ("escaped NUL", content(br"\u0000\u0000")),
        ("ten million characters", content(&vec![b'x'; 10_000_000])),
        ("a hundred thousand members", format!("{{{members}\"model\":\"m\",\"messages\":[]}}").into_bytes()),
        ("names twice", br#"{"model":"m","model":"m","messages":[],"messages":[{"role":"user","content":"x"}]}"#.to_vec()),
        ("odd numbers", br#"{"model":"m","messages":[],"seed":123456789012345678901234567890,"temperature":1E-400,"top_p":-0.0e+0}"#.to_vec()),
        ("space around", b" \r\n\t{ \"model\" :\t\"m\" ,\n\"messages\" : [ ] } \n\n".to_vec()),
    ];
    for (what, body) in cases {
        let mut client = Client::connect(&gateway).await;
        client.send(chat(&body)).await;
        let answer = client.answer().await.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(answer.status, 200, "{what}: {}", answer.body);
        let seen = worker.take_bytes();
        assert!(seen.len() == 1 && seen[0].ends_with(&body), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_400_in_openais_shape() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let (levels, million) = (deep(1_100), deep(1_000_000));
    let cases: [(&str, &[u8]); 10] = [
        ("eleven hundred levels", &levels),
        ("a million levels", &million),
        ("nothing", b""),
        ("half of it", br#"{"model":"m","messages":[{"role":"us"#),
        ("a million openings", &[b'['; 1_000_000]),
        ("a list", b"[]"),
        ("a string", br#""model""#),
        ("NULs", &[0; 1_000]),
        ("another protocol", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("a mark before it", b"\xef\xbb\xbf{}"),
    ];
    for (what, body) in cases {
        let mut client = Client::connect(&gateway).await;
        client.send(chat(body)).await;
        let answer = client.answer().await.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!((answer.status, answer.code()), (400, "invalid_json".into()), "{what}: {}", answer.body);
        assert_eq!(worker.take(), Vec::<String>::new(), "{what}");
        // The body was read to its end, so the connection goes on.
        client.send(crate::plain("after")).await;
        assert_eq!(
            client.answer().await.unwrap_or_else(|| panic!("{what}: no second answer")).status,
            200,
            "{what}"
        );
        worker.take();
    }
    still_serves(&gateway, &worker).await;
}
