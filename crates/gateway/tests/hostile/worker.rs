//! A worker on a bare socket that remembers every request byte for byte.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// Dropping it ends it.
pub(crate) struct Worker {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    _alive: DropGuard,
}

impl Worker {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, life, tasks) = (Arc::default(), CancellationToken::new(), TaskTracker::new());
        let accepting = accept(listener, Arc::clone(&seen), tasks.clone());
        tasks.spawn(life.clone().run_until_cancelled_owned(accepting));
        Self { address, seen, _alive: life.drop_guard() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What came since the last call, the gateway's own questions left out.
    pub(crate) fn take_bytes(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.seen.lock())
    }

    /// The same as text, with `WORKER` for the worker's address.
    pub(crate) fn take(&self) -> Vec<String> {
        let address = self.address.to_string();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(&address, "WORKER");
        self.take_bytes().into_iter().map(text).collect()
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Vec<Vec<u8>>>>, tasks: TaskTracker) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tasks.spawn(serve(stream, Arc::clone(&seen)));
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut read = Vec::new();
    loop {
        while let Some(length) = request(&read) {
            let request: Vec<u8> = read.drain(..length).collect();
            if !["/health", "/v1/models", "/metrics", "/version"]
                .iter()
                .any(|own| request.starts_with(format!("GET {own} ").as_bytes()))
            {
                seen.lock().push(request);
            }
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// How long the request is at the beginning of what was read, if all of it is there. The gateway knows every body's length here.
fn request(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let lines = String::from_utf8_lossy(&read[..head]).to_lowercase();
    let length = lines
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
    (read.len() >= head + length).then_some(head + length)
}
