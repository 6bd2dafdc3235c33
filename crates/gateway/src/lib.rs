//! The gateway: an OpenAI-compatible HTTP front, the router in the middle, workers behind.
//!
//! `front` is who asks (HTTP), `sources` is who tells (discovery, health and descriptions of workers), `admin` is who operates, `show` and
//! `journal` are what is shown and written down; `core` is the one place where the router's lock, the clock and the metrics meet. Every task belongs to a tracker that [`RunningGateway`]
//! waits for, and every request lives in a future or body that dies with its client.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use warmroute_gateway::{GatewayConfig, start};
//!
//! let mut config = GatewayConfig::from_toml("policy = \"cache_aware\"")?;
//! config.workers.push("http://127.0.0.1:8001".parse()?);
//! let gateway = start(config).await?;
//! println!("listening on {}", gateway.address());
//! gateway.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod admin;
mod apis;
pub mod config;
mod core;
#[cfg(test)]
mod docs;
pub mod doctor;
mod front;
pub mod indexer;
mod journal;
mod keys;
mod lanes;
mod linger;
mod queue;
mod reload;
mod server;
mod show;
mod sources;
mod spans;
mod tasks;
mod tls;
mod tokens;
mod upstream;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::apis::Door;
use crate::config::Live;
pub use crate::config::{
    AliasConfig, ConfigError, GatewayConfig, Mark, Millis, ModelConfig, SETTINGS, Setting, TokenizerSource,
    WorkerConfig, WorkerUrl,
};
use crate::core::Core;
use crate::front::{Budget, Front, Gateway};
use crate::journal::Journal;
pub use crate::journal::LogError;
use crate::keys::Gate;
pub use crate::keys::{BadKeys, Keys};
use crate::lanes::Lanes;
use crate::reload::Reloader;
pub use crate::reload::{Origins, Reloaded};
use crate::server::{Server, Serving, Signals};
use crate::sources::health::Checker;
use crate::sources::{Fleet, Membership, Origin, discovery};
use crate::spans::{Exporter, Spans, Told};
use crate::tasks::Owned;
pub use crate::tls::BadTls;
use crate::tls::Shown;
pub use crate::tokens::TokenizerError;
use crate::tokens::Tokenizers;
use crate::upstream::Upstream;
#[cfg(fuzzing)]
pub use crate::upstream::fuzzed;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The settings do not make sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A model's prompts cannot be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The threads that serve connections cannot be started.
    #[error(
        "cannot start a thread: {source}; hint: raise the limits of processes and open files, or lower --threads"
    )]
    Threads {
        /// What the system said.
        source: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; hint: another program may have it; choose another with --{flag}"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Starts a gateway: when this returns, it accepts connections, and requests wait for the first health checks.
///
/// # Errors
/// If the settings are refused or the address is taken.
pub async fn start(config: GatewayConfig) -> Result<RunningGateway, GatewayError> {
    let origins = Origins::fixed(&config);
    start_from(config, origins).await
}

/// The same for settings that can be read again from where they came.
///
/// # Errors
/// As [`start`].
pub async fn start_from(config: GatewayConfig, origins: Origins) -> Result<RunningGateway, GatewayError> {
    start_on(config, origins, Sockets::default()).await
}

/// Sockets that listen already, opened by whoever started us; the settings have their addresses.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For clients, where `listen` says.
    pub clients: Option<std::net::TcpListener>,
    /// For the admin API, where `admin_listen` says.
    pub operators: Option<std::net::TcpListener>,
}

/// The same on sockets that listen already, where there are any.
///
/// # Errors
/// As [`start`].
pub async fn start_on(
    config: GatewayConfig,
    origins: Origins,
    sockets: Sockets,
) -> Result<RunningGateway, GatewayError> {
    config.check()?;
    let clients = Listener::open(sockets.clients, config.listen, "listen", config.reuse_port).await?;
    let operators = match config.admin_listen.0 {
        Some(address) => {
            Some(Listener::open(sockets.operators, address, "admin-listen", config.reuse_port).await?)
        }
        None => None,
    };
    let (tasks, signals) = (Tasks::default(), Signals::default());
    let tokenizers = read_tokenizers(&config).await?;
    let (gateway, told) = gateway(&config, tokenizers)?;
    if let (Some(told), Some(collector)) = (told, config.otlp_endpoint.0.clone()) {
        let exporter = Exporter { told, collector, upstream: gateway.upstream.beside(&config) };
        tasks.checkers.spawn(exporter.run(signals.abort.clone()));
    }
    let members = tasks.membership(&gateway, &signals.abort);
    members.tell(&Origin::Settings, config.workers.clone());
    members.fleet().told();
    discovery::start(&config, &members, &tasks.checkers, &signals.abort);

    let reloader = Arc::new(Reloader::new(&gateway, &members, origins, config.clone()));
    if config.reload_on_change {
        let (reloader, abort) = (Arc::clone(&reloader), signals.abort.clone());
        tasks.checkers.spawn(async move { abort.run_until_cancelled(reloader.follow_files()).await });
    }
    let (address, admin_address) = (clients.address, operators.as_ref().map(|listener| listener.address));
    let lanes = Lanes::start(config.threads).map_err(|source| GatewayError::Threads { source })?;
    let fronts = lanes.all().iter().map(|lane| (lane.clone(), Front::new(&gateway))).collect();
    let shown = Arc::clone(&gateway.shown);
    let how = Serving::new(&config, shown, Owned(tasks.connections.clone()), signals.clone());
    let server = Server::new(fronts, how, config.max_connections);
    tasks.connections.spawn(server.run(clients.listener));
    if let Some(Listener { listener, .. }) = operators {
        let (gateway, members, reloader) =
            (Arc::clone(&gateway), Arc::clone(&members), Arc::clone(&reloader));
        let admin = Arc::new(Admin { gateway, members, reloader });
        let routes = admin::routes(&admin);
        let door = Door { listener, shown: Arc::clone(&admin.gateway.shown_to_operators) };
        tasks.connections.spawn(apis::serve(door, routes, tasks.connections.clone(), signals.clone()));
    }
    tracing::info!(%address, ?admin_address, policy = %config.policy, workers = config.workers.len(), "gateway listens");
    let _abandoned = signals.abort.clone().drop_guard();
    Ok(RunningGateway {
        address,
        admin_address,
        gateway,
        members,
        reloader,
        tasks,
        signals,
        _abandoned,
        _lanes: lanes,
    })
}

/// A socket that listens, and where.
struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    async fn bind(address: SocketAddr, flag: &'static str) -> Result<Self, GatewayError> {
        Self::open(None, address, flag, false).await
    }

    /// On the socket that is given, or on one of our own, `shared` with others or not.
    async fn open(
        given: Option<std::net::TcpListener>,
        address: SocketAddr,
        flag: &'static str,
        shared: bool,
    ) -> Result<Self, GatewayError> {
        let refused = |source| GatewayError::Listen { address, flag, source };
        let listener = match given {
            Some(given) => given.set_nonblocking(true).and_then(|()| TcpListener::from_std(given)),
            None if shared => listen_beside_others(address),
            None => TcpListener::bind(address).await,
        };
        let listener = listener.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }
}

/// Listens where others may listen too, who must have asked for the same. The system spreads new connections over all of them.
fn listen_beside_others(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_QUEUE)
}

/// Connections that wait to be accepted, as tokio has it for listeners that are alone.
const LISTEN_QUEUE: u32 = 1024;

/// The tokenizers that the settings name; nothing is done where they name none.
async fn read_tokenizers(config: &GatewayConfig) -> Result<Tokenizers, GatewayError> {
    let config = config.clone();
    if config.models.is_empty() {
        return Ok(Tokenizers::load(&config)?);
    }
    let read = tokio::task::spawn_blocking(move || Tokenizers::load(&config)).await;
    Ok(read.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?)
}

fn gateway(
    config: &GatewayConfig,
    tokenizers: Tokenizers,
) -> Result<(Arc<Gateway>, Option<Receiver<Told>>), GatewayError> {
    let core = Arc::new(Core::new(config));
    let (spans, told) = Spans::new(config);
    let gateway = Gateway {
        // The settings themselves are a source too.
        fleet: Arc::new(Fleet::new(1 + config.discover.0.len())),
        upstream: Upstream::new(config).map_err(ConfigError::from)?,
        config: Arc::new(Live::new(config.clone())),
        keys: Arc::new(Gate::new(&config.all_keys()?)),
        journal: Arc::new(Journal::open(config, &core)?),
        budget: Arc::new(Budget::new(Instant::now())),
        responses: Arc::default(),
        shown: Arc::new(Shown::new(tls::for_clients(config).map_err(ConfigError::from)?)),
        shown_to_operators: Arc::new(Shown::new(tls::for_operators(config).map_err(ConfigError::from)?)),
        tokenizers: Arc::new(tokenizers),
        draining: CancellationToken::new(),
        spans: Arc::new(spans),
        core,
    };
    Ok((Arc::new(gateway), told))
}

/// A gateway that runs until it is shut down; dropping it cuts everything at once.
pub struct RunningGateway {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    gateway: Arc<Gateway>,
    members: Arc<Membership>,
    reloader: Arc<Reloader>,
    tasks: Tasks,
    signals: Signals,
    _abandoned: DropGuard,
    _lanes: Lanes,
}

impl RunningGateway {
    /// Where it listens; the real port if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin API listens, if it does.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Reads the settings again and puts them in force; requests under way are not disturbed.
    ///
    /// # Errors
    /// On a mistake in them; everything then stays as it is.
    pub fn reload(&self) -> Result<Reloaded, ConfigError> {
        self.reloader.reload()
    }

    /// Requests that were routed and have not ended.
    pub fn in_flight(&self) -> usize {
        self.gateway.core.in_flight()
    }

    /// Adds a worker; `false` if it is there already.
    pub fn add_worker(&self, worker: &WorkerConfig) -> bool {
        self.members.add(worker).is_some()
    }

    /// Gives a worker nothing new from now on and removes it once its last request has ended; `false` if there is no such worker.
    pub fn remove_worker(&self, worker: &WorkerConfig) -> bool {
        self.members.remove_at(&worker.url)
    }

    /// Waits until at most `count` workers are left, those that are leaving included.
    pub async fn workers_left(&self, count: usize) {
        self.gateway.fleet.wait_for(|standing| standing.workers <= count).await;
    }

    /// Waits until at least `count` workers pass their health checks.
    pub async fn workers_up(&self, count: usize) {
        self.gateway.fleet.wait_for(|standing| standing.up >= count).await;
    }

    /// Waits until at most `count` workers pass their health checks, and all have been checked.
    pub async fn workers_down_to(&self, count: usize) {
        self.gateway.fleet.settled().await;
        self.gateway.fleet.wait_for(|standing| standing.up <= count).await;
    }

    /// Drains: `/readyz` turns 503, after `drain_delay_ms` the listener closes, running requests have `drain_grace_ms` to end, and
    /// what is left is cut. If this future is dropped half-way, everything is cut at once.
    pub async fn shutdown(self) {
        let Self { gateway, tasks, signals, _abandoned, .. } = self;
        let config = gateway.config.now();
        gateway.draining.cancel();
        sleep(config.drain_delay_ms.duration()).await;
        signals.stop.cancel();
        tasks.connections.close();
        if timeout(config.drain_grace_ms.duration(), tasks.connections.wait()).await.is_err() {
            tracing::warn!(
                in_flight = gateway.core.in_flight(),
                "the grace period is over; what still runs is cut"
            );
        }
        signals.abort.cancel();
        tasks.connections.wait().await;
        tasks.checkers.close();
        tasks.checkers.wait().await;
        let journal = Arc::clone(&gateway.journal);
        // Writing what is left may take as long as the disk wants.
        let _ = tokio::task::spawn_blocking(move || journal.close()).await;
        tracing::info!("gateway stopped");
    }
}

/// All tasks of a gateway, by what they do.
#[derive(Default)]
struct Tasks {
    /// The listener, clients' connections and their streams.
    connections: TaskTracker,
    /// One health checker per worker.
    checkers: TaskTracker,
}

impl Tasks {
    /// Who belongs to the fleet; every member's checker runs until `abort` or until its worker has gone.
    fn membership(&self, gateway: &Gateway, abort: &CancellationToken) -> Arc<Membership> {
        let checker = Checker {
            fleet: Arc::clone(&gateway.fleet),
            core: Arc::clone(&gateway.core),
            upstream: gateway.upstream.clone(),
            config: Arc::clone(&gateway.config),
        };
        Arc::new(Membership::new(checker, self.checkers.clone(), abort.clone()))
    }
}
