//! A stand-in worker: everything a worker is to a gateway, without tensors.
//!
//! It answers as the real one does, keeps a real block pool and so reports true hits, takes as long as a model of a serving
//! engine says (or no time at all), and breaks when told to. It is cheap enough to load a gateway to its limit.
//!
//! - `look` finds in a body what is asked: four bytes of the prompt are a token, sixteen tokens a block.
//! - `seats` and `steps` are the two ways to spend time: each request by itself in one of so many seats, or all of them in
//!   the steps of [`warmroute_kv::timed::Engine`], the one that the simulator runs.
//! - `pieces` and `reply` are the answer's shape and its way out; `routes` holds all that together.
//! - `faults` is the list of what may go wrong.

mod engine;
pub mod faults;
mod look;
mod pieces;
mod reply;
mod routes;
mod seats;
mod sidelines;
mod status;
mod steps;
mod surface;
mod telling;
mod text;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use warmroute_kv::timed::{CHUNK_TOKENS, MOST_REQUESTS, StepTime};
use warmroute_kv::{Blocks, Tokens};

use self::engine::Engine;
use self::faults::{FaultRule, Faults};
use self::look::BLOCK;
use self::routes::Emulator;
use crate::engine::KvBatch;
use crate::publish::{self, KvEndpoints, KvPublishing, Publisher};
use crate::server::{Front, Server};
use crate::service::WorkerError;

/// How an emulated worker spends its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// It spends none.
    Instant,
    /// Every request takes this long, whatever it asks.
    Fixed(Duration),
    /// In steps, `speed` times as fast as `time` says.
    Steps {
        /// How long steps take.
        time: StepTime,
        /// Above 0; 2 is twice as fast.
        speed: f64,
    },
}

/// Everything that can be set about an emulated worker.
#[derive(Clone, Debug)]
pub struct EmulatedConfig {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The model's name.
    pub model: String,
    /// Further names under which clients may ask for it.
    pub aliases: Vec<String>,
    /// Size of the KV cache, rounded down to whole blocks of 16; also bounds prompt and answer together.
    pub kv_cache_tokens: Tokens,
    /// How time is spent.
    pub pace: Pace,
    /// Tokens computed in one step, where there are steps.
    pub prefill_chunk_tokens: Tokens,
    /// Requests answered at the same time.
    pub max_running: usize,
    /// Requests that may wait behind them; more get status 429.
    pub max_waiting: usize,
    /// Tokens of an answer whose length the client leaves open.
    pub answer_tokens: Tokens,
    /// Bytes of text in one token of an answer, which is one event of a stream.
    pub chunk_bytes: usize,
    /// What goes wrong from the start.
    pub faults: Vec<FaultRule>,
    /// Where the chance of faults begins.
    pub seed: u64,
    /// Whether `/faults` takes orders from this machine.
    pub allow_fault_injection: bool,
    /// How long a shutdown waits for requests in flight.
    pub grace: Duration,
    /// Where it publishes what its cache does, if anywhere.
    pub kv_events: Option<KvPublishing>,
}

impl Default for EmulatedConfig {
    /// An instant worker on a port of the system's choice, local only, with a cache of a million tokens.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            model: "emulated".to_owned(),
            aliases: Vec::new(),
            kv_cache_tokens: Tokens(1 << 20),
            pace: Pace::Instant,
            prefill_chunk_tokens: CHUNK_TOKENS,
            max_running: MOST_REQUESTS,
            max_waiting: 4_096,
            answer_tokens: Tokens(16),
            chunk_bytes: 4,
            faults: Vec::new(),
            seed: 1,
            allow_fault_injection: false,
            grace: Duration::from_secs(30),
            kv_events: None,
        }
    }
}

/// Starts to serve. Needs a tokio runtime with IO and time.
///
/// # Errors
/// If the address cannot be had.
pub async fn start(config: EmulatedConfig) -> Result<RunningEmulator, WorkerError> {
    let refuse = |cause| WorkerError::Listen { address: config.listen, cause };
    let listener = TcpListener::bind(config.listen).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    let (outlet, publisher) = publish::begin(config.kv_events.as_ref(), BLOCK).await?;
    let emulator = Arc::new(Emulator::new(&config, outlet));
    let mut tasks = JoinSet::new();
    if let Engine::Steps(steps) = &emulator.engine {
        tasks.spawn(Arc::clone(steps).run());
    }
    let server = Server::start(listener, front(Arc::clone(&emulator)));
    tracing::info!(%address, model = config.model, pace = ?config.pace, "emulated worker is up");
    Ok(RunningEmulator { address, emulator, server, _tasks: tasks, grace: config.grace, publisher })
}

fn front(emulator: Arc<Emulator>) -> Front {
    Box::new(move |caller| {
        if emulator.faults.refuses() {
            caller.cut.reset();
            return None;
        }
        let emulator = Arc::clone(&emulator);
        Some(Arc::new(move |request| Box::pin(Arc::clone(&emulator).serve(caller.clone(), request))))
    })
}

/// An emulated worker that serves. Dropping it kills it.
#[derive(Debug)]
pub struct RunningEmulator {
    address: SocketAddr,
    emulator: Arc<Emulator>,
    server: Server,
    _tasks: JoinSet<()>,
    grace: Duration,
    publisher: Option<Publisher>,
}

/// What an emulated worker has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that were begun; those that a fault kept out are not among them.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Those of them that were in the cache.
    pub cached_tokens: u64,
}

impl RunningEmulator {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it publishes what its cache does, if it does.
    pub fn kv_endpoints(&self) -> Option<&KvEndpoints> {
        self.publisher.as_ref().map(|publisher| &publisher.bound)
    }

    /// What goes wrong: a handle by which to change it.
    pub fn faults(&self) -> &Faults {
        &self.emulator.faults
    }

    /// What it has done.
    pub fn counters(&self) -> Counters {
        self.emulator.engine.desk().counters()
    }

    /// Requests running or waiting.
    pub fn in_flight(&self) -> usize {
        self.emulator.engine.desk().gate.inside()
    }

    /// Returns once no request runs or waits. Dropping the future does nothing.
    pub async fn idle(&self) {
        self.emulator.engine.desk().gate.empty().await;
    }

    /// Blocks in its cache, of requests under way and of those before them.
    pub fn cached_blocks(&self) -> Blocks {
        self.emulator.engine.resident()
    }

    /// Cache changes from now on, numbered; bounded, so a listener that lags loses the oldest.
    pub fn kv_batches(&self) -> broadcast::Receiver<Arc<KvBatch>> {
        self.emulator.engine.kv_batches()
    }

    /// Drains as the real worker does: refuses what is new, lets what is in flight end within the grace time.
    ///
    /// Dropping the future kills the worker.
    pub async fn shutdown(self) {
        self.emulator.draining.store(true, Ordering::Release);
        let deadline = tokio::time::Instant::now() + self.grace;
        if tokio::time::timeout_at(deadline, self.idle()).await.is_err() {
            tracing::warn!(in_flight = self.in_flight(), "requests were cut after the grace time");
        }
        self.server.shutdown(deadline - tokio::time::Instant::now()).await;
    }

    /// Drops the listener and every connection at once, as a crash would.
    pub fn kill(self) {
        drop(self);
    }
}
