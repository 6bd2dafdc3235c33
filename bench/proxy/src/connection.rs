//! One HTTP/1.1 keep-alive connection, with the times of each answer and the usage it reports.
//!
//! As little as a load generator can do: the client shares two cores with what it measures.

use std::io;
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// What one read takes at most; a whole small answer is one read.
const READ_BYTES: usize = 64 << 10;
/// How chunked bodies end. Our stand-ins' events end in a blank line and never in a zero, so nothing else looks like this.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// One answer, in the order in which it came about.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub status: u16,
    /// Microseconds from the first byte sent to the first read that holds a byte of the body.
    pub first_us: f64,
    /// Microseconds to its last byte.
    pub whole_us: f64,
    /// Tokens of the prompt, and how many of them were cached, where the body is whole and says so.
    pub usage: Option<(u64, u64)>,
}

/// A connection that asks one thing at a time.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

/// What is known of an answer once its head is there.
#[derive(Clone, Copy)]
struct Head {
    status: u16,
    bytes: usize,
    /// Body bytes that the head announces; none where the body is chunked.
    length: Option<usize>,
}

impl Connection {
    /// Connects on loopback.
    pub async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::with_capacity(READ_BYTES) })
    }

    /// Connects with a small receive buffer, so that a client that stops reading is felt soon.
    pub async fn open_narrow(port: u16) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(64 << 10)?;
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await?;
        Ok(Self { stream, answer: Vec::with_capacity(READ_BYTES) })
    }

    /// Sends a request as it stands and reads its whole answer.
    pub async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        let start = Instant::now();
        self.send(request).await?;
        let (head, mut first_us) = (self.head().await?, None);
        loop {
            let body = &self.answer[head.bytes..];
            if first_us.is_none() && !body.is_empty() {
                first_us = Some(micros(start));
            }
            let ended = match head.length {
                Some(length) => body.len() >= length,
                None => body.ends_with(LAST_CHUNK),
            };
            if ended {
                let whole_us = micros(start);
                let usage = usage(body);
                return Ok(Answer {
                    status: head.status,
                    first_us: first_us.unwrap_or(whole_us),
                    whole_us,
                    usage,
                });
            }
            self.read().await?;
        }
    }

    /// Sends a request and forgets what was read before.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.answer.clear();
        self.stream.write_all(request).await
    }

    /// Reads on until there are so many bytes, head included, and forgets them: how many there were.
    pub async fn take(&mut self, bytes: usize) -> anyhow::Result<usize> {
        let mut taken = 0;
        while taken < bytes {
            self.answer.clear();
            taken += self.read().await?;
        }
        Ok(taken)
    }

    /// Reads until the head and at least one byte of the body are there: the status.
    pub async fn begin(&mut self) -> anyhow::Result<u16> {
        let head = self.head().await?;
        while self.answer.len() == head.bytes {
            self.read().await?;
        }
        Ok(head.status)
    }

    async fn head(&mut self) -> anyhow::Result<Head> {
        loop {
            if let Some(head) = head_of(&self.answer)? {
                return Ok(head);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> anyhow::Result<usize> {
        self.answer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.answer).await? {
            0 => bail!("the connection was closed in the middle of an answer"),
            bytes => Ok(bytes),
        }
    }
}

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

/// The head, once it is complete.
fn head_of(answer: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(bytes) = response.parse(answer)? else { return Ok(None) };
    let status = response.code.context("an answer without a status")?;
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.map(|header| Ok::<_, anyhow::Error>(std::str::from_utf8(header.value)?.parse()?));
    Ok(Some(Head { status, bytes, length: length.transpose()? }))
}

/// Prompt tokens and cached ones among them, as OpenAI's usage has it.
fn usage(body: &[u8]) -> Option<(u64, u64)> {
    Some((number_after(body, b"\"prompt_tokens\":")?, number_after(body, b"\"cached_tokens\":")?))
}

fn number_after(body: &[u8], name: &[u8]) -> Option<u64> {
    let digits = &body[memchr::memmem::rfind(body, name)? + name.len()..];
    let digits = digits.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_only_when_it_is_complete() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n";
        assert!(head_of(&answer[..20]).unwrap().is_none());
        let head = head_of(answer).unwrap().unwrap();
        assert_eq!((head.status, head.bytes, head.length), (200, answer.len(), Some(12)));
    }

    #[test]
    fn usage_is_found_with_and_without_spaces() {
        let body = br#"{"usage":{"prompt_tokens":11,"prompt_tokens_details":{"cached_tokens": 7}}}"#;
        assert_eq!(usage(body), Some((11, 7)));
        assert_eq!(usage(b"{}"), None);
    }
}
