//! A worker's cache events for everybody: numbered, in the bytes of vLLM, over ZMQ, with a replay of what was missed.
//!
//! Whoever understands a vLLM understands this. The engine words each step's events and appends them to a log; one task sends what is
//! new in the log, another replays from it. There is no queue between them: a sender that falls behind goes on with what the log still
//! has, and a reader sees the gap by the numbers.

mod log;
mod sockets;
#[cfg(test)]
mod tests;
mod wording;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use warmroute_kv::wire::Form;
use warmroute_kv::{KvEvents, Tokens};
use zeromq::{PubSocket, RouterSocket, Socket, ZmqError};

use self::log::Log;
pub(crate) use self::wording::Told;

/// Where and how a worker publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvPublishing {
    /// Where readers subscribe.
    pub events: KvAddress,
    /// Where they ask again for what they missed; nowhere if none.
    pub replay: Option<KvAddress>,
    /// The first frame of every message.
    pub topic: String,
    /// Maps, as vLLM since 0.24, or lists, as before.
    pub form: Form,
}

impl KvPublishing {
    /// Without replay and topic, in the newer form.
    pub const fn at(events: KvAddress) -> Self {
        Self { events, replay: None, topic: String::new(), form: Form::Map }
    }
}

/// An address of this machine to publish at, `tcp://HOST:PORT`. `*` is all of them, and port 0 lets the system choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvAddress(String);

/// Why a text is no address to publish at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address to publish at; hint: write tcp://HOST:PORT, such as tcp://127.0.0.1:5557 or tcp://*:5557"
)]
pub struct BadKvAddress(String);

impl FromStr for KvAddress {
    type Err = BadKvAddress;

    fn from_str(text: &str) -> Result<Self, BadKvAddress> {
        match text.strip_prefix("tcp://").and_then(|address| address.rsplit_once(':')) {
            Some(("*", port)) if port.parse::<u16>().is_ok() => Ok(Self(format!("tcp://0.0.0.0:{port}"))),
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(BadKvAddress(text.to_owned())),
        }
    }
}

impl fmt::Display for KvAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a worker cannot publish.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot publish KV events at {address}: {cause}; hint: the address must be this machine's and its port free, such as tcp://*:5557"
)]
pub struct PublishError {
    address: KvAddress,
    cause: ZmqError,
}

/// A publisher at work. Dropping it closes its sockets.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// Where it publishes and replays, with the ports that it got.
    pub(crate) bound: KvEndpoints,
    _tasks: JoinSet<()>,
}

/// Where a worker publishes, as readers write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvEndpoints {
    /// Where to subscribe.
    pub events: String,
    /// Where to ask again.
    pub replay: Option<String>,
}

/// Where the engine leaves its events.
#[derive(Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
    form: Form,
    block_tokens: Tokens,
}

/// What the engine writes and the sockets read.
#[derive(Debug, Default)]
struct Shared {
    /// Held for as long as it takes to put a message in or take one out.
    log: Mutex<Log>,
    news: Notify,
}

impl Outlet {
    /// Words `events` and logs them as one message.
    pub(crate) fn tell(&self, events: &KvEvents, told: &impl Told) {
        let message = wording::message(self.form, self.block_tokens, events, told);
        self.shared.log.lock().append(message.into());
        self.shared.news.notify_one();
    }
}

/// The same, if it is asked for.
pub(crate) async fn begin(
    publishing: Option<&KvPublishing>,
    block_tokens: Tokens,
) -> Result<(Option<Outlet>, Option<Publisher>), PublishError> {
    let Some(publishing) = publishing else { return Ok((None, None)) };
    let (outlet, publisher) = start(publishing, block_tokens).await?;
    Ok((Some(outlet), Some(publisher)))
}

/// Begins to publish a cache of blocks of `block_tokens`.
///
/// # Errors
/// If an address cannot be had.
pub(crate) async fn start(
    publishing: &KvPublishing,
    block_tokens: Tokens,
) -> Result<(Outlet, Publisher), PublishError> {
    let (mut events, mut replays) = (PubSocket::new(), RouterSocket::new());
    let mut bound = KvEndpoints { events: bind(&mut events, &publishing.events).await?, replay: None };
    if let Some(address) = &publishing.replay {
        bound.replay = Some(bind(&mut replays, address).await?);
    }
    let shared = Arc::new(Shared::default());
    let topic = axum::body::Bytes::from(publishing.topic.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(sockets::send(events, Arc::clone(&shared), topic.clone()));
    if bound.replay.is_some() {
        tasks.spawn(sockets::replay(replays, Arc::clone(&shared), topic));
    }
    tracing::info!(events = bound.events, replay = bound.replay, "KV events are published");
    Ok((Outlet { shared, form: publishing.form, block_tokens }, Publisher { bound, _tasks: tasks }))
}

async fn bind(socket: &mut impl Socket, address: &KvAddress) -> Result<String, PublishError> {
    let bound = socket.bind(&address.0).await;
    let bound = bound.map_err(|cause| PublishError { address: address.clone(), cause })?;
    // "All addresses" is nowhere to connect to; from this machine, its own is.
    Ok(bound.to_string().replace("//0.0.0.0:", "//127.0.0.1:"))
}
