//! A publisher is followed over sockets, whatever it loses, and in the end we hold what it holds.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use warmroute_kv::wire::{EngineEvent, EngineHash, ExtraKeys, Form, Home, Lora, Removed, Stored, encode};
use warmroute_kv::{KvEvent, KvEvents};
use zeromq::{RouterSocket, Socket, SocketRecv, SocketSend, XPubSocket, ZmqMessage};

use super::account::Sink;
use super::*;

/// Nothing here takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);
const ANY_PORT: &str = "tcp://127.0.0.1:0";

type Kept = Arc<Mutex<VecDeque<(u64, Bytes)>>>;

/// An engine that stores blocks of one token each, all of them first blocks.
struct Engine {
    socket: XPubSocket,
    kept: Kept,
    next: u64,
    source: KvSource,
    replays: JoinSet<()>,
}

impl Engine {
    async fn start() -> Self {
        Self::start_at(ANY_PORT, ANY_PORT, false).await
    }

    /// With a topic frame in its replies, or without.
    async fn start_at(events: &str, replay: &str, topic: bool) -> Self {
        let (mut socket, mut router) = (XPubSocket::new(), RouterSocket::new());
        let events = bind(&mut socket, events).await;
        let replay = bind(&mut router, replay).await;
        let kept = Kept::default();
        let mut replays = JoinSet::new();
        replays.spawn(answer(router, Arc::clone(&kept), topic));
        let source = KvSource {
            events: events.parse().expect("an endpoint"),
            replay: Some(replay.parse().expect("an endpoint")),
            topic: String::new(),
        };
        Self { socket, kept, next: 0, source, replays }
    }

    /// A message is numbered and kept, and sent unless it is lost.
    async fn tell(&mut self, event: EngineEvent<'_>, lost: bool) {
        let mut payload = Vec::new();
        encode(Form::Map, 1.0, &[event], None, &mut payload);
        let payload = Bytes::from(payload);
        self.kept.lock().push_back((self.next, payload.clone()));
        if !lost {
            self.send(self.next, payload).await;
        }
        self.next += 1;
    }

    async fn send(&mut self, number: u64, payload: Bytes) {
        let mut message = ZmqMessage::from(Bytes::from_static(b"kv"));
        message.push_back(Bytes::copy_from_slice(&number.to_be_bytes()));
        message.push_back(payload);
        self.socket.send(message).await.expect("it is sent");
    }

    async fn store(&mut self, token: u32, lost: bool) {
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

    async fn remove(&mut self, token: u32, lost: bool) {
        let removed = Removed { blocks: &[EngineHash(u64::from(token))], home: Home::default() };
        self.tell(EngineEvent::Removed(removed), lost).await;
    }

    /// Waits until somebody listens.
    async fn heard(&mut self) {
        let subscription = timeout(PATIENCE, self.socket.recv()).await.expect("in time");
        subscription.expect("somebody subscribes");
    }

    async fn stop(mut self) -> KvSource {
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
async fn answer(mut router: RouterSocket, kept: Kept, topic: bool) {
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
            reply.push_back(Bytes::copy_from_slice(&number.to_be_bytes()));
            reply.push_back(payload);
            router.send(reply).await.expect("it is sent");
        }
    }
}

/// Who follows the engine, and what it was told.
struct Follower {
    account: Arc<Account>,
    changes: mpsc::UnboundedReceiver<KvEvents>,
    held: BTreeSet<u64>,
    _task: JoinSet<()>,
}

fn naming() -> Naming {
    Naming::new("m", Tokens(1))
}

/// Our name of the engine's block of this token.
fn name(token: u32) -> u64 {
    let root = warmroute_kv::Namespace { model: "m", ..Default::default() }.root();
    root.next_tokens(&[token]).0
}

impl Follower {
    fn of(source: &KvSource) -> Self {
        let (sender, changes) = mpsc::unbounded_channel();
        let sink: Sink = Box::new(move |events| _ = sender.send(events));
        let account = Arc::new(Account::new(naming(), 1, sink));
        let (mut task, sources) = (JoinSet::new(), vec![source.clone()]);
        let followed = Arc::clone(&account);
        task.spawn(async move { follow(&followed, &sources).await });
        Self { account, changes, held: BTreeSet::new(), _task: task }
    }

    /// Waits until exactly the blocks of these tokens are held.
    async fn holds(&mut self, tokens: &[u32]) {
        let wanted: BTreeSet<u64> = tokens.iter().map(|token| name(*token)).collect();
        while self.held != wanted {
            let changes = timeout(PATIENCE, self.changes.recv()).await;
            let changes = changes.unwrap_or_else(|_| panic!("{:?}", self.account.statement()));
            for change in changes.expect("the account lives") {
                match change {
                    KvEvent::Stored { blocks, .. } => self.held.extend(blocks.iter().map(|block| block.0)),
                    KvEvent::Removed { blocks } => {
                        blocks.iter().for_each(|block| _ = self.held.remove(&block.0))
                    }
                    KvEvent::Cleared => self.held.clear(),
                }
            }
        }
    }
}

#[tokio::test]
async fn what_was_told_before_is_replayed_in_either_form_and_what_comes_is_followed() {
    for topic in [false, true] {
        let mut engine = Engine::start_at(ANY_PORT, ANY_PORT, topic).await;
        engine.store(1, true).await;
        engine.store(2, true).await;
        let mut follower = Follower::of(&engine.source);
        engine.heard().await;
        follower.holds(&[1, 2]).await;
        engine.store(3, false).await;
        engine.remove(1, false).await;
        follower.holds(&[2, 3]).await;
        let statement = follower.account.statement();
        assert_eq!((statement.gaps, statement.restarts, statement.blocks), (0, 0, 2));
    }
}

#[tokio::test]
async fn what_was_lost_is_asked_for_again() {
    let mut engine = Engine::start().await;
    engine.store(1, true).await;
    let mut follower = Follower::of(&engine.source);
    engine.heard().await;
    follower.holds(&[1]).await;
    engine.remove(1, true).await;
    engine.store(2, true).await;
    engine.store(3, false).await;
    follower.holds(&[2, 3]).await;
    assert_eq!(follower.account.statement().gaps, 1);
}

#[tokio::test]
async fn what_is_lost_for_good_is_not_guessed() {
    let mut engine = Engine::start().await;
    engine.store(1, true).await;
    let mut follower = Follower::of(&engine.source);
    engine.heard().await;
    follower.holds(&[1]).await;
    engine.remove(1, true).await;
    engine.store(2, true).await;
    engine.kept.lock().drain(..2);
    engine.store(3, false).await;
    follower.holds(&[2, 3]).await;
}

#[tokio::test]
async fn an_engine_that_starts_anew_is_begun_with_anew() {
    let mut engine = Engine::start().await;
    engine.store(1, true).await;
    engine.store(2, true).await;
    let mut follower = Follower::of(&engine.source);
    engine.heard().await;
    follower.holds(&[1, 2]).await;
    let KvSource { events, replay, .. } = engine.stop().await;
    let replay = replay.expect("it has one");
    let mut engine = Engine::start_at(events.as_str(), replay.as_str(), true).await;
    engine.store(7, true).await;
    engine.heard().await;
    follower.holds(&[7]).await;
}

#[tokio::test]
async fn garbage_is_counted_and_costs_nothing_else() {
    let mut engine = Engine::start().await;
    let mut follower = Follower::of(&engine.source);
    engine.heard().await;
    engine.store(1, false).await;
    follower.holds(&[1]).await;
    engine.socket.send(ZmqMessage::from(Bytes::from_static(b"?"))).await.expect("it is sent");
    let number = engine.next;
    engine.send(number, Bytes::from_static(b"\xc1\xc1")).await;
    engine.next += 1;
    engine.store(2, false).await;
    follower.holds(&[1, 2]).await;
    let statement = follower.account.statement();
    assert_eq!((statement.unreadable, statement.state), (2, Hearability::Live));
}
