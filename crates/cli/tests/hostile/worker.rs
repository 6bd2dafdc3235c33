//! A worker that tells in each answer how long the body was that reached it, and a hash of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Starts one that runs until the test ends; returns its URL.
pub(crate) fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || serve(BufReader::new(stream)));
        }
    });
    url
}

/// FNV-1a.
pub(crate) fn hash(body: &[u8]) -> u64 {
    body.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// What it answers to such a body.
pub(crate) fn receipt(body: &[u8]) -> String {
    format!(r#"{{"length":{},"hash":{}}}"#, body.len(), hash(body))
}

fn serve(mut stream: BufReader<TcpStream>) -> Option<()> {
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let receipt = receipt(&body);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
        stream.get_mut().write_all(format!("{head}{}\r\n\r\n{receipt}", receipt.len()).as_bytes()).ok()?;
    }
}
