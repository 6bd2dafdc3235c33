//! One publisher of a worker: followed live, asked again for what was missed, for as long as anybody polls.
//!
//! There is no queue of ours between socket and index: while a batch is applied or a replay is read, messages wait in the sockets'
//! buffers and then in the engine, which drops the newest when its own bound is reached. That shows as a gap, like every other loss, and
//! the rule for gaps is one: ask again from the last message that is certain; if the engine does not have it any more, forget this
//! rank and take all that it has. What is left then is what the engine tells, never a guess.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout};
use zeromq::{DealerSocket, Socket, SocketEvent, SocketOptions, SocketRecv, SocketSend, SubSocket, ZmqError};

use super::account::{Account, Hearability};
use super::frames::{self, Numbered, Replayed};
use super::hearing::{Heard, Hearing, Mark};
use crate::config::KvSource;

/// The pause before the second attempt to connect; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No pause is longer: an engine that is back should not be missed for long.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// An engine that says nothing for so long while it replays will not go on.
const REPLAY_WAIT: Duration = Duration::from_secs(5);
/// A connection attempt takes no longer.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// What could not be replayed is asked for again once the first of these has passed, then twice that, and so on up to the second.
pub(super) const ASKED_AGAIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(320)];

/// Why a publisher is not followed any more.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Socket(#[from] ZmqError),
    #[error("the connection was closed")]
    Closed,
    #[error("the replay took too long")]
    Slow,
    #[error("a replayed message has no form that is known")]
    Form,
}

/// One publisher and where we are with it.
pub(super) struct Publisher {
    account: Arc<Account>,
    source: KvSource,
    /// Its place among the worker's publishers, and its rank unless it says another.
    place: usize,
    rank: u32,
    hearing: Hearing,
    /// When to ask again for what a failed replay owes, and how long was waited for it.
    owed: Option<(Instant, Duration)>,
}

impl Publisher {
    pub(super) fn new(account: Arc<Account>, source: KvSource, place: usize) -> Self {
        let rank = u32::try_from(place).unwrap_or(u32::MAX);
        Self { account, source, place, rank, hearing: Hearing::default(), owed: None }
    }

    /// Follows it for ever. Dropping the future closes its sockets; what was told so far stays in the account.
    pub(super) async fn follow(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let (lost, heard) = match self.session().await {
                Err((lost, heard)) => (lost, heard),
                Ok(never) => match never {},
            };
            self.account.set_state(self.place, Hearability::Stale);
            pause = if heard { FIRST_PAUSE } else { LONGEST_PAUSE.min(pause * 2) };
            tracing::debug!(endpoint = %self.source.events, %lost, ?pause, "KV events are lost; connecting again");
            sleep(pause).await;
        }
    }

    /// One connection, and whether anything was heard over it.
    async fn session(&mut self) -> Result<std::convert::Infallible, (Lost, bool)> {
        let mut options = SocketOptions::default();
        options.connect_timeout(CONNECT_WAIT);
        let mut socket = SubSocket::with_options(options);
        let mut monitor = socket.monitor();
        self.open(&mut socket).await.map_err(|error| (error.into(), false))?;
        self.hearing.reconnected();
        self.account.set_state(self.place, Hearability::Silent);
        // Subscribed first: what comes from here on is in the replay, in the socket, or in both.
        self.catch_up().await;
        let mut heard = false;
        loop {
            let message = tokio::select! {
                message = socket.recv() => message.map_err(|error| (error.into(), heard))?,
                event = monitor.next() => match event {
                    Some(SocketEvent::Disconnected(_)) | None if self.source.events.bound().is_none() => return Err((Lost::Closed, heard)),
                    // Who binds waits for the engine to come back; it may be another process then.
                    Some(SocketEvent::Disconnected(_)) => {
                        self.account.set_state(self.place, Hearability::Stale);
                        continue;
                    }
                    _ => continue,
                },
            };
            heard = true;
            match frames::live(&message) {
                Some(numbered) => self.hear(numbered).await,
                None => self
                    .account
                    .unreadable(&"a message does not have the three frames topic, number and batch"),
            }
        }
    }

    async fn open(&self, socket: &mut SubSocket) -> Result<(), ZmqError> {
        socket.subscribe(&self.source.topic).await?;
        match self.source.events.bound() {
            Some(address) => socket.bind(&address).await.map(drop),
            None => socket.connect(self.source.events.as_str()).await,
        }
    }

    /// A live message.
    async fn hear(&mut self, message: Numbered) {
        match self.hearing.live(message.sequence) {
            Heard::Known => return,
            Heard::Next if self.owed.is_none_or(|(due, _)| Instant::now() < due) => {}
            missed => {
                match missed {
                    Heard::Restart => {
                        self.account.restart();
                        self.forget();
                    }
                    Heard::Gap => self.account.gap(),
                    Heard::Known | Heard::Next => {}
                }
                self.catch_up().await;
                match self.hearing.place(message.sequence) {
                    Heard::Known => return,
                    Heard::Next => {}
                    Heard::Gap | Heard::Restart => {
                        self.forget();
                        self.apply(&message);
                        return self.account.set_state(self.place, Hearability::Stale);
                    }
                }
            }
        }
        self.apply(&message);
        self.account.set_state(self.place, Hearability::Live);
    }

    fn apply(&mut self, message: &Numbered) {
        self.account.apply(self.rank, message);
        self.hearing.applied(message.sequence, &message.payload);
    }

    fn forget(&mut self) {
        self.account.forget(self.rank);
        self.hearing.forget();
    }

    /// Asks for what was missed, from the last message that is certain or, failing that, for everything.
    async fn catch_up(&mut self) {
        if self.source.replay.is_none() {
            return;
        }
        self.account.replay();
        self.account.set_state(self.place, Hearability::Replaying);
        // After a failed replay what was applied since is certain, but not that it is all.
        let resumed = match self.hearing.last().filter(|_| self.owed.is_none()) {
            Some(mark) => self.replay(mark.sequence, Some(mark)).await,
            None => Ok(false),
        };
        let replayed = match resumed {
            Ok(true) => Ok(true),
            Ok(false) => self.replay(0, None).await,
            Err(lost) => Err(lost),
        };
        let [first, longest] = ASKED_AGAIN;
        let pause = self.owed.take().map_or(first, |(_, pause)| longest.min(pause * 2));
        let state = match replayed {
            Err(lost) => {
                tracing::warn!(replay = ?self.source.replay, %lost, "KV events could not be replayed");
                self.owed = Some((Instant::now() + pause, pause));
                Hearability::Stale
            }
            Ok(_) if self.hearing.last().is_some() => Hearability::Live,
            Ok(_) => Hearability::Silent,
        };
        self.account.set_state(self.place, state);
    }

    /// Applies what the engine has from `from` on; `false`, and nothing applied, if that does not begin with `mark`. Without a mark it
    /// takes the place of all that was known, once the engine answers.
    async fn replay(&mut self, from: u64, mark: Option<Mark>) -> Result<bool, Lost> {
        let Some(endpoint) = &self.source.replay else { return Ok(false) };
        let mut options = SocketOptions::default();
        options.connect_timeout(CONNECT_WAIT);
        let mut socket = DealerSocket::with_options(options);
        socket.connect(endpoint.as_str()).await?;
        socket.send(frames::request(from)).await?;
        let (mut expected, mut anew) = (mark, mark.is_none());
        loop {
            let message = timeout(REPLAY_WAIT, socket.recv()).await.map_err(|_| Lost::Slow)??;
            if std::mem::take(&mut anew) {
                self.forget();
            }
            match frames::replayed(&message).ok_or(Lost::Form)? {
                Replayed::End => return Ok(expected.is_none()),
                Replayed::Batch(batch) => match expected.take() {
                    Some(mark) if Mark::of(batch.sequence, &batch.payload) != mark => return Ok(false),
                    Some(mark) => self.hearing.replayed(mark.sequence),
                    None => {
                        self.apply(&batch);
                        self.hearing.replayed(batch.sequence);
                    }
                },
            }
        }
    }
}
