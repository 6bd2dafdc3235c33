//! The two sockets of a publisher: PUB for what is new, ROUTER for what was missed. Their frames are vLLM's.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use zeromq::{PubSocket, RouterSocket, SocketRecv, SocketSend, ZmqMessage};

use super::Shared;

/// Behind the last replayed message.
const END: u64 = u64::MAX;
/// Who does not take a replayed message for so long is given up, since others wait for theirs.
const REPLAY_WAIT: Duration = Duration::from_secs(5);

/// Sends what comes into the log, for as long as it is polled. The socket drops the newest for readers that are 100,000 messages behind.
pub(super) async fn send(mut socket: PubSocket, shared: Arc<Shared>, topic: Bytes) {
    let mut next = 0;
    loop {
        let message = shared.log.lock().from(next);
        let Some((number, payload)) = message else {
            // A permit is kept of news that came since the look.
            shared.news.notified().await;
            continue;
        };
        next = number + 1;
        let mut message = ZmqMessage::from(topic.clone());
        message.push_back(number_frame(number));
        message.push_back(payload);
        if let Err(error) = socket.send(message).await {
            tracing::debug!(%error, "a message of KV events was not sent");
        }
        // Sending waits for nobody: without this, a burst would keep the thread.
        tokio::task::yield_now().await;
    }
}

/// Answers requests for replays, for as long as it is polled.
pub(super) async fn replay(mut socket: RouterSocket, shared: Arc<Shared>, topic: Bytes) {
    loop {
        let request = match socket.recv().await {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(%error, "a request for a replay could not be read");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let Some((reader, from)) = read(&request) else {
            tracing::debug!(frames = request.len(), "a request for a replay has no form that is known");
            continue;
        };
        if answer(&mut socket, &shared, &topic, (reader, from)).await.is_err() {
            tracing::warn!(from, "a reader did not take its replay of KV events");
        }
    }
}

/// Who asks, and from which number on.
fn read(request: &ZmqMessage) -> Option<(Bytes, u64)> {
    let number = request.get(2)?.as_ref().try_into().ok()?;
    (request.len() == 3).then(|| request.get(0).cloned())?.map(|reader| (reader, u64::from_be_bytes(number)))
}

async fn answer(
    socket: &mut RouterSocket,
    shared: &Shared,
    topic: &Bytes,
    (reader, from): (Bytes, u64),
) -> Result<(), Elapsed> {
    let reply = |number, payload| {
        let mut reply = ZmqMessage::from(reader.clone());
        let frames = [Bytes::new(), topic.clone(), number_frame(number), payload];
        frames.into_iter().for_each(|frame| reply.push_back(frame));
        reply
    };
    // What is published meanwhile comes live: a replay that ran after it might never end.
    let (mut next, end) = (from, shared.log.lock().next());
    while next < end {
        let Some((number, payload)) = shared.log.lock().from(next).filter(|(number, _)| *number < end) else {
            break;
        };
        if timeout(REPLAY_WAIT, socket.send(reply(number, payload))).await?.is_err() {
            // It has gone.
            return Ok(());
        }
        next = number + 1;
    }
    timeout(REPLAY_WAIT, socket.send(reply(END, Bytes::new()))).await.map(drop)
}

fn number_frame(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}
