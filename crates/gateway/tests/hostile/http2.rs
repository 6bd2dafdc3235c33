//! HTTP/2 frames that well-behaved clients do not send. What bounds them is hyper's: streams reset at once (20), headers of one request
//! (16 kB) and the frames they may come in; past it the connection ends with ENHANCE_YOUR_CALM.

use tokio::io::AsyncReadExt;

use crate::client::Client;
use crate::worker::Worker;
use crate::{gateway, still_serves, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `:method: POST`, `:scheme: http`, `:path: /v1/completions`, `:authority: g`.
fn head() -> Vec<u8> {
    [&[0x83, 0x86, 0x04, 15], &b"/v1/completions"[..], &[0x01, 1, b'g']].concat()
}

async fn connect(gateway: &warmroute_gateway::RunningGateway) -> Client {
    let mut client = Client::connect(gateway).await;
    client.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    client
}

/// Sends what `next` makes until the gateway says that it is enough; returns the error it names and how often something was sent.
async fn until_goaway(client: &mut Client, mut next: impl FnMut(u32) -> Vec<u8>) -> (Option<u32>, u32) {
    let (mut read, mut sent) = (Vec::new(), 0);
    within(async {
        loop {
            if sent < 100_000 {
                client.send(next(sent)).await;
                sent += 1;
                tokio::task::yield_now().await;
            }
            match client.stream.try_read_buf(&mut read) {
                Ok(0) => return (None, sent),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && sent < 100_000 => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    client.stream.readable().await.unwrap();
                }
                Err(_) => return (None, sent),
            }
            if let Some(error) = goaway(&read) {
                return (Some(error), sent);
            }
        }
    })
    .await
}

/// The error of a GOAWAY frame among these.
fn goaway(mut read: &[u8]) -> Option<u32> {
    while read.len() >= 9 {
        let length = u32::from_be_bytes([0, read[0], read[1], read[2]]) as usize;
        let payload = read.get(9..9 + length)?;
        if read[3] == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        read = &read[9 + length..];
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_as_fast_as_they_are_opened_end_the_connection() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let mut client = connect(&gateway).await;
    let next = |number: u32| {
        let stream = 2 * number + 1;
        [frame(HEADERS, END_HEADERS, stream, &head()), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
            .concat()
            .repeat(1)
    };
    let (error, streams) = until_goaway(&mut client, next).await;
    assert!(error.is_none_or(|error| error == ENHANCE_YOUR_CALM), "{error:?} after {streams}");
    assert!(streams < 100_000, "{streams} streams were taken");
    drop(client);
    assert_eq!(worker.take(), Vec::<String>::new());
    still_serves(&gateway, &worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_go_on_without_end_end_the_connection() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    let mut client = connect(&gateway).await;
    client.send(frame(HEADERS, 0, 1, &head())).await;
    let more = [0, 1, b'a', 1, b'b'].repeat(2_000);
    let (error, frames) = until_goaway(&mut client, |_| frame(CONTINUATION, 0, 1, &more)).await;
    assert!(error.is_none_or(|error| error == ENHANCE_YOUR_CALM), "{error:?} after {frames}");
    assert!(frames < 1_000, "{frames} frames of 10 kB were taken");
    still_serves(&gateway, &worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_none_end_the_connection() {
    let worker = Worker::start().await;
    let gateway = gateway(&worker, |_| {}).await;
    for bytes in [
        vec![0xff; 100],
        frame(HEADERS, END_HEADERS, 2, &head()),
        frame(CONTINUATION, 0, 1, &[]),
        frame(SETTINGS, 0, 0, &[1]),
    ] {
        let mut client = connect(&gateway).await;
        client.send(bytes).await;
        let mut read = Vec::new();
        // A reset is as good an end.
        let _ = within(client.stream.read_to_end(&mut read)).await;
        assert!(goaway(&read).is_none_or(|error| error != 0));
    }
    assert_eq!(worker.take(), Vec::<String>::new());
    still_serves(&gateway, &worker).await;
}
