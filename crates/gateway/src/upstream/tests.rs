//! The client against workers that are a few lines on a bare socket.

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use warmroute_routing::Standing;

use super::connection::HEAD_BYTES;
use super::*;

/// A listener on a port of its own, and its address as the client wants it.
async fn worker() -> (TcpListener, WorkerUrl) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    (listener, authority)
}

/// What the client sent up to and including `end`.
async fn heard(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        assert!(stream.read_buf(&mut text).await.unwrap() > 0, "the client hung up");
    }
    String::from_utf8(text).unwrap()
}

async fn post(
    upstream: &Upstream,
    authority: &WorkerUrl,
    body: &'static [u8],
) -> Result<String, UpstreamError> {
    let (path, headers) = (PathAndQuery::from_static("/v1/x"), HeaderMap::new());
    let body = Bytes::from_static(body);
    let outbound = Outbound {
        method: Method::POST,
        to: authority,
        path: &path,
        headers: &headers,
        body: &body,
        fresh: false,
        departure: None,
    };
    let answer = upstream.request(&outbound).await?.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(answer.to_vec()).unwrap())
}

fn client() -> Upstream {
    Upstream::new(&GatewayConfig::default()).unwrap()
}

/// A connection that waits for the next request.
fn idle(upstream: &Upstream, authority: &WorkerUrl) -> Option<Connection> {
    let now = Instant::now();
    upstream.pool.of(authority, now).take(now)
}

#[tokio::test]
async fn a_connection_is_used_again_after_an_answer_that_says_where_it_ends() {
    let ((listener, authority), upstream) = (worker().await, client());
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nt\r\n2\r\nwo\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ];
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in answers {
            heard(&mut stream, "\r\n\r\nhello").await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let ask = async {
        for expected in ["one", "two", ""] {
            assert_eq!(post(&upstream, &authority, b"hello").await.unwrap(), expected);
        }
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_or_is_to_be_closed_is_not_used_again() {
    let ((listener, authority), upstream) = (worker().await, client());
    let serve = async {
        for head in ["connection: close\r\ncontent-length: 1", "content-length: 1", "x-last: 1"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            heard(&mut stream, "\r\n\r\nhello").await;
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nx").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            if !head.starts_with("x") {
                // Gone for the client as well before it asks again, however the tasks take turns.
                assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
            }
        }
    };
    let ask = async {
        for _ in 0..3 {
            assert_eq!(post(&upstream, &authority, b"hello").await.unwrap(), "x");
            assert!(idle(&upstream, &authority).is_none_or(|mut connection| connection.is_quiet()));
        }
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_worker_that_refuses_before_it_has_read_the_body_is_heard() {
    let ((listener, authority), upstream) = (worker().await, client());
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 64]).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await.unwrap();
        stream
    };
    let body = Vec::leak(vec![b'x'; 64 << 20]);
    let (_open, answer) = tokio::join!(serve, post(&upstream, &authority, body));
    assert_eq!(answer.unwrap(), "big");
    assert!(idle(&upstream, &authority).is_none(), "the rest of the body was never sent");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_one_that_ends_with_its_connection_is_none() {
    for (head, complete) in
        [("content-length: 9", false), ("transfer-encoding: chunked", false), ("x-a: b", true)]
    {
        let ((listener, authority), upstream) = (worker().await, client());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            heard(&mut stream, "\r\n\r\nhello").await;
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n2\r\nhi").as_bytes()).await.unwrap();
        };
        let ((), answer) = tokio::join!(serve, post(&upstream, &authority, b"hello"));
        assert_eq!(answer.is_ok(), complete, "{head}");
    }
}

#[tokio::test]
async fn who_drops_a_body_hangs_up() {
    let ((listener, authority), upstream) = (worker().await, client());
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        heard(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi").await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    };
    let ask = async { drop(upstream.get(&authority, "/health", &HeaderMap::new()).await.unwrap()) };
    tokio::join!(serve, ask);
    assert!(idle(&upstream, &authority).is_none());
}

#[tokio::test]
async fn idle_connections_to_a_worker_that_nobody_asks_any_more_are_closed_too() {
    let config = GatewayConfig { pool_idle_timeout_ms: crate::Millis(0), ..GatewayConfig::default() };
    let ((old, old_name), (new, new_name), upstream) =
        (worker().await, worker().await, Upstream::new(&config).unwrap());
    let serve = async |listener: TcpListener| {
        let (mut stream, _) = listener.accept().await.unwrap();
        heard(&mut stream, "hello").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx").await.unwrap();
        stream
    };
    let (mut forgotten, answer) = tokio::join!(serve(old), post(&upstream, &old_name, b"hello"));
    answer.unwrap();
    let (_open, answer) = tokio::join!(serve(new), post(&upstream, &new_name, b"hello"));
    answer.unwrap();
    assert_eq!(forgotten.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn only_the_newest_of_those_that_are_idle_keep_their_room() {
    let ((_listener, authority), upstream, now) = (worker().await, client(), Instant::now());
    let idle = upstream.pool.of(&authority, now);
    for _ in 0..20 {
        let mut connection = Connection::open(&authority, &upstream.believed).await.unwrap();
        connection.buffer.reserve(1);
        connection.head.reserve(4 * HEAD_BYTES);
        idle.give(connection);
    }
    let newest_first = std::iter::from_fn(|| idle.take(now));
    let roomy: Vec<(bool, bool)> = newest_first
        .map(|connection| (connection.buffer.capacity() > 0, connection.head.capacity() > HEAD_BYTES))
        .collect();
    assert_eq!(roomy, [[(true, true); 16].as_slice(), &[(false, false); 4]].concat());
}

#[tokio::test]
async fn a_body_arrives_as_it_is_whether_it_is_one_piece_with_its_head_or_not() {
    static BODY: [u8; 100_000] = {
        let mut body = [0; 100_000];
        let mut at = 0;
        while at < body.len() {
            body[at] = (at % 251) as u8;
            at += 1;
        }
        body
    };
    let ((listener, authority), upstream) = (worker().await, client());
    // Long, short and long again: what the connection keeps of one must not show in the next. Heads are some hundred bytes.
    let lengths = [100_000, 10, 16_000, 16_384, 8_000, 2_048, 16_385, 1];
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for length in lengths {
            let mut text = Vec::new();
            let head = loop {
                assert!(stream.read_buf(&mut text).await.unwrap() > 0, "the client hung up");
                if let Some(end) = text.windows(4).position(|end| end == b"\r\n\r\n") {
                    break end + 4;
                }
            };
            while text.len() < head + length {
                assert!(stream.read_buf(&mut text).await.unwrap() > 0, "the client hung up");
            }
            assert!(text[head..] == BODY[..length], "{length} bytes");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    };
    let ask = async {
        for length in lengths {
            assert_eq!(post(&upstream, &authority, &BODY[..length]).await.unwrap(), "ok");
        }
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_told_from_other_failures() {
    let (listener, authority) = worker().await;
    drop(listener);
    let error = client().get(&authority, "/health", &HeaderMap::new()).await.map(drop).unwrap_err();
    assert!(error.nobody_there(), "{error}");
    assert!(!UpstreamError::closed().nobody_there());
}

#[tokio::test]
async fn connections_to_a_worker_that_is_asked_no_more_are_let_go() {
    let config = GatewayConfig { pool_idle_timeout_ms: crate::Millis(0), ..GatewayConfig::default() };
    let upstream = Upstream::new(&config).unwrap();
    for _ in 0..3 {
        let (listener, authority) = worker().await;
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            heard(&mut stream, "hello").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        };
        tokio::join!(serve, post(&upstream, &authority, b"hello")).1.unwrap();
        assert_eq!(upstream.pool.workers(), 1, "those before have left");
    }
}

#[tokio::test]
async fn a_request_does_not_overtake_one_that_is_to_leave_before_it() {
    let ((listener, authority), upstream) = (worker().await, client());
    let departures = Departures::default();
    let [first, second] = [0, 1].map(|nth| departures.place(Standing { nth, heard: None }));
    let (path, headers, body) = (PathAndQuery::from_static("/"), HeaderMap::new(), Bytes::new());
    let leave = async |departure: &Departure| {
        let outbound = Outbound {
            method: Method::GET,
            to: &authority,
            path: &path,
            headers: &headers,
            body: &body,
            fresh: true,
            departure: Some(departure),
        };
        upstream.request(&outbound).await.unwrap();
    };
    // What is decided second is connected first, and waits.
    let mut ahead = Box::pin(leave(&second));
    let mut waiting = tokio::select! {
        () = &mut ahead => panic!("nobody has answered"),
        accepted = listener.accept() => accepted.unwrap().0,
    };
    tokio::time::pause();
    for _ in 0..100 {
        assert!(futures_util::poll!(&mut ahead).is_pending());
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    assert!(waiting.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
    let serve = async {
        let (mut leaving, _) = listener.accept().await.unwrap();
        for stream in [&mut leaving, &mut waiting] {
            heard(stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
        leaving
    };
    let (_open, (), ()) = tokio::join!(serve, ahead, leave(&first));
}
