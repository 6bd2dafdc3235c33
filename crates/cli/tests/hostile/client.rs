//! A client that asks on one connection, again and again, and checks each answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::worker::receipt;

/// Only a hang takes so long.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// The status of the answer to this body.
    pub(crate) fn ask(&mut self, path: &str, body: &[u8]) -> u16 {
        let mut sent =
            format!("POST {path} HTTP/1.1\r\nhost: g\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        sent.extend_from_slice(body);
        self.0.get_mut().write_all(&sent).unwrap();
        let (status, answer) = self.answer(body);
        match status {
            200 => assert_eq!(answer, receipt(body), "changed on its way: {}", String::from_utf8_lossy(body)),
            _ => assert!(answer.contains("\"error\"") && answer.contains("hint:"), "{status}: {answer}"),
        }
        status
    }

    fn answer(&mut self, body: &[u8]) -> (u16, String) {
        let (mut status, mut length, mut line) = (0, 0, String::new());
        while line != "\r\n" {
            line.clear();
            let read = self.0.read_line(&mut line).unwrap();
            assert!(read > 0, "the connection was closed over {}", String::from_utf8_lossy(body));
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).unwrap();
        (status, String::from_utf8(answer).unwrap())
    }
}
