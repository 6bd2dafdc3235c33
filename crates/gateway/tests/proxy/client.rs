//! A client of the gateway that shows answers as they are: every byte, and whether the end was a clean one.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::fleet::within;

/// An answer whose body is still coming.
pub(crate) struct Coming {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

/// A whole answer, or as much of it as came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body ended as HTTP wants it and was not cut.
    pub(crate) clean: bool,
}

impl Coming {
    /// The next piece of the body.
    pub(crate) async fn piece(&mut self) -> Bytes {
        within(self.body.frame()).await.unwrap().unwrap().into_data().unwrap()
    }

    /// Everything that still comes.
    pub(crate) async fn whole(mut self) -> Answer {
        let mut body = BytesMut::new();
        let clean = loop {
            match within(self.body.frame()).await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => body.extend_from_slice(&frame.into_data().unwrap()),
            }
        };
        Answer { status: self.status, headers: self.headers, body: body.freeze(), clean }
    }
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("(missing)", |value| value.to_str().unwrap())
    }
}

/// Sends a request on a connection of its own.
pub(crate) async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> Coming {
    within(async {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        TaskTracker::new().spawn(connection);
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        Coming { status: head.status, headers: head.headers, body }
    })
    .await
}

/// A request to the gateway.
pub(crate) fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let builder = Request::builder().method(method).uri(path).header("host", "gateway");
    builder.header("content-type", "application/json").body(Full::new(body.into())).unwrap()
}

pub(crate) async fn get(to: SocketAddr, path: &str) -> Answer {
    send(to, request("GET", path, "")).await.whole().await
}

pub(crate) async fn post(to: SocketAddr, path: &str, body: impl Into<Bytes>) -> Answer {
    send(to, request("POST", path, body)).await.whole().await
}

/// A short completion request.
pub(crate) const PROMPT: &str = r#"{"model":"m","prompt":"Once upon a time","max_tokens":4}"#;

pub(crate) async fn complete(to: SocketAddr) -> Answer {
    post(to, "/v1/completions", PROMPT).await
}

/// The same with further headers.
pub(crate) async fn complete_with(to: SocketAddr, headers: http::HeaderMap) -> Answer {
    let mut request = request("POST", "/v1/completions", PROMPT);
    request.headers_mut().extend(headers);
    send(to, request).await.whole().await
}

pub(crate) async fn complete_coming(to: SocketAddr) -> Coming {
    send(to, request("POST", "/v1/completions", PROMPT)).await
}

/// The value of one line of `/metrics`, 0 if it is not there.
pub(crate) async fn metric(to: SocketAddr, line: &str) -> f64 {
    let text = get(to, "/metrics").await;
    let value = text.text().lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    value.unwrap_or(0.0)
}

/// A client that can walk away: a bare connection with a completion request sent on it.
pub(crate) async fn bare_request(to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let head =
        format!("POST /v1/completions HTTP/1.1\r\nhost: gateway\r\ncontent-length: {}\r\n\r\n", PROMPT.len());
    stream.write_all(format!("{head}{PROMPT}").as_bytes()).await.unwrap();
    stream
}

/// Reads from a bare connection until `text` has come.
pub(crate) async fn read_until(stream: &mut TcpStream, text: &str) {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let got = within(stream.read_buf(&mut read)).await.unwrap();
        assert_ne!(got, 0, "closed before {text}: {}", String::from_utf8_lossy(&read));
    }
}
