//! A worker that is wrong in ways that ours cannot be.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What it answers.
#[derive(Clone, Copy)]
pub(crate) struct Stub {
    /// The status of `/health`.
    pub(crate) health: u16,
    /// The status of `/v1/models`.
    pub(crate) models: u16,
    /// What chats are said to have taken; without it, half of a prompt is cached the second time.
    pub(crate) usage: &'static str,
}

impl Default for Stub {
    fn default() -> Self {
        Self { health: 200, models: 200, usage: "" }
    }
}

pub(crate) struct Running {
    address: String,
    _task: JoinSet<()>,
}

impl Running {
    pub(crate) fn table(&self) -> String {
        format!("[[workers]]\nurl = \"http://{}\"\n", self.address)
    }
}

impl Stub {
    pub(crate) async fn start(self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has one").to_string();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut chats = 0;
            while let Ok((connection, _)) = listener.accept().await {
                // One after the other, as the doctor asks.
                self.answer(connection, &mut chats).await;
            }
        });
        Running { address, _task: task }
    }

    /// Answers one request and closes the connection.
    async fn answer(self, mut connection: TcpStream, chats: &mut u32) {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match connection.read_buf(&mut head).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match path {
            "/health" => (self.health, "{}".to_owned()),
            "/v1/models" => (self.models, r#"{"data": [{"id": "emulated"}]}"#.to_owned()),
            "/v1/chat/completions" => (200, format!("{{\"usage\": {}}}", self.usage(chats))),
            _ => (404, "{}".to_owned()),
        };
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        // The doctor may have gone.
        let _ = connection.write_all(answer.as_bytes()).await;
        let _ = connection.shutdown().await;
        let _ = connection.read_to_end(&mut Vec::new()).await;
    }

    fn usage(self, chats: &mut u32) -> String {
        *chats += 1;
        match self.usage {
            "" => format!(
                r#"{{"prompt_tokens": 200, "prompt_tokens_details": {{"cached_tokens": {}}}}}"#,
                192 * (*chats - 1).min(1)
            ),
            told => told.to_owned(),
        }
    }
}
