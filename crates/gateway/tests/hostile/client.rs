//! A client that sends whatever bytes it is told.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use warmroute_gateway::RunningGateway;

use crate::within;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The `code` of an error in OpenAI's shape.
    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["error"]["code"].as_str().unwrap_or("(none)").to_owned()
    }
}

impl Client {
    pub(crate) async fn connect(gateway: &RunningGateway) -> Self {
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Sends it, or as much as the gateway takes.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within(self.stream.write_all(bytes.as_ref())).await;
    }

    /// The next answer; nothing if the connection is closed instead.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some(answer) = self.parse() {
                return Some(answer);
            }
            if within(self.stream.read_buf(&mut self.read)).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next answer that is final.
    fn parse(&mut self) -> Option<Answer> {
        let end = self.read.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
        let length = head
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
        let body = self.read.get(end..end + length)?.to_vec();
        self.read.drain(..end + length);
        let status = head[9..12].parse().unwrap();
        if status == 100 {
            return self.parse();
        }
        Some(Answer { status, head, body: String::from_utf8(body).unwrap() })
    }

    /// Waits for the end; `Err` if it is a reset. Nothing may come before it.
    pub(crate) async fn closed(&mut self) -> io::Result<()> {
        let result = within(self.stream.read_buf(&mut self.read)).await;
        assert_eq!(String::from_utf8_lossy(&self.read), "", "nothing more is said");
        result.map(drop)
    }
}
