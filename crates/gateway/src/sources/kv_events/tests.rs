//! A publisher is followed over sockets, whatever it loses, and in the end we hold what it holds.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use warmroute_kv::{KvEvent, KvEvents};
use zeromq::{SocketSend, ZmqMessage};

use super::engine::{ANY_PORT, Engine, PATIENCE};
use super::publisher::ASKED_AGAIN;
use super::*;

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
        let sink: Sink = Box::new(move |word| match word {
            Word::Begin((changes, _)) | Word::Changes((changes, _)) => _ = sender.send(changes),
            Word::End => {}
        });
        let account = Arc::new(Account::new(naming(), 1, sink));
        account.speak(true);
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
async fn what_a_failed_replay_owes_is_asked_for_later() {
    let mut engine = Engine::start().await;
    engine.store(1, true).await;
    let mut follower = Follower::of(&engine.source);
    engine.heard().await;
    follower.holds(&[1]).await;
    engine.garbled.store(true, Ordering::SeqCst);
    engine.store(2, true).await;
    engine.store(3, false).await;
    follower.holds(&[3]).await;
    engine.garbled.store(false, Ordering::SeqCst);
    engine.store(4, false).await;
    follower.holds(&[3, 4]).await;
    tokio::time::pause();
    tokio::time::advance(ASKED_AGAIN[0]).await;
    tokio::time::resume();
    engine.store(5, false).await;
    follower.holds(&[1, 2, 3, 4, 5]).await;
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
