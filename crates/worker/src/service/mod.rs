//! The worker as a service: OpenAI's HTTP API in front of one engine, from start to drain or kill.

mod admission;
mod answers;
mod arrivals;
mod refusal;
mod routes;
mod turns;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use futures_util::TryFutureExt;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use warmroute_kv::{Blocks, Tokens};

use self::arrivals::Arrivals;
pub(crate) use self::refusal::{BODY_LIMIT_BYTES, Refusal};
use self::turns::Turns;
use crate::engine::{CachedModel, EngineHandle, KvBatch, Limits, Metrics};
use crate::model::{BLOCK_TOKENS, LoadError, LoadedModel, ModelSource, load};
use crate::publish::{self, KvEndpoints, KvPublishing, Outlet, PublishError, Publisher};
use crate::server::{Answering, Front, Server};

/// Where a worker's model comes from.
#[derive(Clone, Debug)]
pub enum WorkerModel {
    /// To be loaded at start.
    Source(ModelSource),
    /// Loaded before, perhaps shared with other workers of this process: weights are in memory once.
    Loaded(Arc<LoadedModel>),
}

impl WorkerModel {
    async fn get(&self) -> Result<Arc<LoadedModel>, WorkerError> {
        let source = match self {
            Self::Loaded(model) => return Ok(Arc::clone(model)),
            Self::Source(source) => source.clone(),
        };
        let loaded = tokio::task::spawn_blocking(move || load(&source)).await;
        Ok(Arc::new(loaded.map_err(|_| WorkerError::LoadPanicked)??))
    }
}

/// Everything that can be set about a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// What to serve.
    pub model: WorkerModel,
    /// Further names under which clients may ask for the model.
    pub aliases: Vec<String>,
    /// Size of the KV cache. Rounded down to whole blocks, at least one; also bounds prompt and answer together.
    pub kv_cache_tokens: Tokens,
    /// Prompt tokens computed in one step: bounds how long a decode waits behind other requests' prompts.
    pub prefill_chunk_tokens: Tokens,
    /// Requests decoded together.
    pub max_running: usize,
    /// Requests that may wait behind them; more get status 429.
    pub max_waiting: usize,
    /// How long a shutdown waits for requests in flight.
    pub grace: Duration,
    /// Where it publishes what its cache does, if anywhere.
    pub kv_events: Option<KvPublishing>,
}

impl Default for WorkerConfig {
    /// The embedded model on a port of the system's choice, local only. 16,384 tokens of cache are 75 MB for the embedded
    /// model and 750 MB for SmolLM2-135M.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            model: WorkerModel::Source(ModelSource::Embedded),
            aliases: Vec::new(),
            kv_cache_tokens: Tokens(16_384),
            prefill_chunk_tokens: Tokens(256),
            max_running: 64,
            max_waiting: 1024,
            grace: Duration::from_secs(30),
            kv_events: None,
        }
    }
}

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The model could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The loader panicked.
    #[error("loading the model panicked; hint: look at the log above, and report it with the model's name")]
    LoadPanicked,
    /// The address could not be had.
    #[error(
        "cannot listen on {address}: {cause}; hint: is another program using the port? choose another with --listen"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// The address for KV events could not be had.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// No thread for the engine.
    #[error("cannot start the inference thread: {0}; hint: raise the limit on threads (ulimit -u)")]
    Thread(std::io::Error),
}

/// What every request handler sees.
#[derive(Debug)]
struct Service {
    model: Arc<LoadedModel>,
    /// The served name, then aliases.
    names: Vec<String>,
    engine: EngineHandle,
    arrivals: Arrivals,
    turns: Turns,
    /// Longest prompt and answer together: the model's context or the cache, whichever is smaller.
    longest: usize,
    /// Seconds since 1970.
    started: u64,
    draining: AtomicBool,
}

impl Service {
    async fn start(config: &WorkerConfig, outlet: Option<Outlet>) -> Result<Self, WorkerError> {
        let model = config.model.get().await?;
        let capacity = Blocks((config.kv_cache_tokens.0 / Tokens::of(BLOCK_TOKENS).0).max(1));
        let limits = Limits {
            block_tokens: BLOCK_TOKENS,
            capacity,
            prefill_tokens: config.prefill_chunk_tokens.get(),
            max_running: config.max_running.max(1),
        };
        let metrics = Metrics::new(&model.name, &limits);
        let cached = CachedModel::new(Arc::clone(&model), capacity);
        let engine = EngineHandle::start(cached, limits, config.max_waiting, (metrics, outlet))
            .map_err(WorkerError::Thread)?;
        Ok(Self {
            names: std::iter::once(model.name.clone()).chain(config.aliases.iter().cloned()).collect(),
            longest: limits.longest().min(model.context.get()),
            model,
            engine,
            arrivals: Arrivals::default(),
            turns: Turns::default(),
            started: unix_seconds(),
            draining: AtomicBool::new(false),
        })
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn longest(&self) -> u32 {
        u32::try_from(self.longest).unwrap_or(u32::MAX)
    }
}

/// Loads the model, starts the engine and serves. Needs a tokio runtime with IO and time.
///
/// Dropping the future abandons the start; a model load under way finishes in vain.
///
/// # Errors
/// If the address, the model or a thread cannot be had.
pub async fn start(config: WorkerConfig) -> Result<RunningWorker, WorkerError> {
    // The address first: a conflict should show before minutes of loading.
    let refuse = |cause| WorkerError::Listen { address: config.listen, cause };
    let listener = TcpListener::bind(config.listen).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    let (outlet, publisher) = publish::begin(config.kv_events.as_ref(), Tokens::of(BLOCK_TOKENS)).await?;
    let service = Arc::new(Service::start(&config, outlet).await?);
    let server = Server::start(listener, front(routes::router(Arc::clone(&service))));
    tracing::info!(%address, model = service.names[0], longest = service.longest, "worker is up");
    Ok(RunningWorker { address, service, server, grace: config.grace, publisher })
}

/// Every connection gets the same router.
fn front(router: Router) -> Front {
    let service = TowerToHyperService::new(router);
    let answering: Answering =
        Arc::new(move |request| Box::pin(service.call(request).map_err(|never| match never {})));
    Box::new(move |_| Some(Arc::clone(&answering)))
}

/// A worker that serves. Dropping it kills it.
#[derive(Debug)]
pub struct RunningWorker {
    address: SocketAddr,
    service: Arc<Service>,
    server: Server,
    grace: Duration,
    publisher: Option<Publisher>,
}

impl RunningWorker {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The model, to share with another worker.
    pub fn model(&self) -> Arc<LoadedModel> {
        Arc::clone(&self.service.model)
    }

    /// Where it publishes what its cache does, if it does.
    pub fn kv_endpoints(&self) -> Option<&KvEndpoints> {
        self.publisher.as_ref().map(|publisher| &publisher.bound)
    }

    /// Requests running or waiting.
    pub fn in_flight(&self) -> usize {
        self.service.engine.gate().inside()
    }

    /// Returns once no request runs or waits. Dropping the future does nothing.
    pub async fn idle(&self) {
        self.service.engine.gate().empty().await;
    }

    /// Cache changes from now on, numbered; bounded, so a listener that lags loses the oldest.
    pub fn kv_batches(&self) -> broadcast::Receiver<Arc<KvBatch>> {
        self.service.engine.kv_batches()
    }

    /// Drains: refuses new requests with 503 (`/health` too), lets those in flight end within the grace time, then closes.
    ///
    /// Dropping the future kills the worker.
    pub async fn shutdown(self) {
        self.service.draining.store(true, Ordering::Release);
        let deadline = tokio::time::Instant::now() + self.grace;
        if tokio::time::timeout_at(deadline, self.idle()).await.is_err() {
            tracing::warn!(in_flight = self.in_flight(), "requests were cut after the grace time");
        }
        let Self { service, server, publisher: _publisher, .. } = self;
        server.shutdown(deadline - tokio::time::Instant::now()).await;
        service.engine.stop();
        service.engine.stopped().await;
    }

    /// Drops the listener and every connection at once, as a crash would.
    pub fn kill(self) {
        self.service.engine.stop();
        drop(self.server);
    }
}

pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
