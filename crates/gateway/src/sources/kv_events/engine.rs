//! An engine for tests: it publishes and replays over sockets, and loses what it is told to lose.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use warmroute_kv::Tokens;
use warmroute_kv::wire::{EngineEvent, EngineHash, ExtraKeys, Form, Home, Lora, Removed, Stored, encode};
use zeromq::{RouterSocket, Socket, SocketRecv, SocketSend, XPubSocket, ZmqMessage};

use crate::config::KvSource;

/// Nothing here takes longer, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const ANY_PORT: &str = "tcp://127.0.0.1:0";

pub(crate) type Kept = Arc<Mutex<VecDeque<(u64, Bytes)>>>;

/// An engine that stores blocks of one token each, all of them first blocks.
pub(crate) struct Engine {
    pub(crate) socket: XPubSocket,
    pub(crate) kept: Kept,
    pub(crate) next: u64,
    pub(crate) source: KvSource,
    /// Whether its replays have a form that nobody knows.
    pub(crate) garbled: Arc<AtomicBool>,
    replays: JoinSet<()>,
}

impl Engine {
    pub(crate) async fn start() -> Self {
        Self::start_at(ANY_PORT, ANY_PORT, false).await
    }

    /// With a topic frame in its replies, or without.
    pub(crate) async fn start_at(events: &str, replay: &str, topic: bool) -> Self {
        let (mut socket, mut router) = (XPubSocket::new(), RouterSocket::new());
        let events = bind(&mut socket, events).await;
        let replay = bind(&mut router, replay).await;
        let (kept, garbled) = (Kept::default(), Arc::<AtomicBool>::default());
        let mut replays = JoinSet::new();
        replays.spawn(answer(router, (Arc::clone(&kept), Arc::clone(&garbled)), topic));
        let source = KvSource {
            events: events.parse().expect("an endpoint"),
            replay: Some(replay.parse().expect("an endpoint")),
            topic: String::new(),
        };
        Self { socket, kept, next: 0, source, garbled, replays }
    }

    /// A message is numbered and kept, and sent unless it is lost.
    pub(crate) async fn tell(&mut self, event: EngineEvent<'_>, lost: bool) {
        let mut payload = Vec::new();
        encode(Form::Map, 1.0, &[event], None, &mut payload);
        let payload = Bytes::from(payload);
        self.kept.lock().push_back((self.next, payload.clone()));
        if !lost {
            self.send(self.next, payload).await;
        }
        self.next += 1;
    }

    pub(crate) async fn send(&mut self, number: u64, payload: Bytes) {
        let mut message = ZmqMessage::from(Bytes::from_static(b"kv"));
        message.push_back(Bytes::copy_from_slice(&number.to_be_bytes()));
        message.push_back(payload);
        self.socket.send(message).await.expect("it is sent");
    }

    pub(crate) async fn store(&mut self, token: u32, lost: bool) {
        let stored = Stored {
            blocks: &[EngineHash(u64::from(token))],
            parent: None,
            tokens: &[token],
            block_tokens: Tokens(1),
            home: Home::default(),
            attention: None,
            lora: Lora::default(),
            cache_salt: None,
            extra_keys: ExtraKeys::default(),
        };
        self.tell(EngineEvent::Stored(stored), lost).await;
    }

    pub(crate) async fn remove(&mut self, token: u32, lost: bool) {
        let removed = Removed { blocks: &[EngineHash(u64::from(token))], home: Home::default() };
        self.tell(EngineEvent::Removed(removed), lost).await;
    }

    /// Waits until somebody listens.
    pub(crate) async fn heard(&mut self) {
        let subscription = timeout(PATIENCE, self.socket.recv()).await.expect("in time");
        subscription.expect("somebody subscribes");
    }

    pub(crate) async fn stop(mut self) -> KvSource {
        self.socket.close().await;
        self.replays.shutdown().await;
        self.source
    }
}

/// Binds as soon as whoever had the address has let it go.
async fn bind(socket: &mut impl Socket, address: &str) -> String {
    let bound = async {
        loop {
            match socket.bind(address).await {
                Ok(endpoint) => return endpoint.to_string(),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, bound).await.expect("the address is free in time")
}

/// Answers requests for replays.
async fn answer(mut router: RouterSocket, (kept, garbled): (Kept, Arc<AtomicBool>), topic: bool) {
    while let Ok(request) = router.recv().await {
        let frames = request.into_vec();
        let from = u64::from_be_bytes(frames[2].as_ref().try_into().expect("a number"));
        let mut replies: Vec<_> = kept.lock().iter().filter(|(number, _)| *number >= from).cloned().collect();
        replies.push((u64::MAX, Bytes::new()));
        for (number, payload) in replies {
            let mut reply = ZmqMessage::from(frames[0].clone());
            reply.push_back(Bytes::new());
            if topic {
                reply.push_back(Bytes::from_static(b"kv"));
            }
            if !garbled.load(Ordering::SeqCst) {
                reply.push_back(Bytes::copy_from_slice(&number.to_be_bytes()));
            }
            reply.push_back(payload);
            router.send(reply).await.expect("it is sent");
        }
    }
}
