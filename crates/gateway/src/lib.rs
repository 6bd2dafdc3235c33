//! The gateway: an OpenAI-compatible HTTP front, the router in the middle, workers behind.
//!
//! `front` is who asks (HTTP), `sources` is who tells (health and descriptions of workers), `show` is what is shown (metrics); `core` is
//! the one place where the router's lock, the clock and the metrics meet. Every task belongs to a tracker that [`RunningGateway`]
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

pub mod config;
mod core;
mod front;
mod lanes;
mod server;
mod show;
mod sources;
mod tasks;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use crate::config::{ConfigError, GatewayConfig, Millis, SETTINGS, Setting, WorkerConfig, WorkerUrl};
use crate::core::Core;
use crate::front::{Front, Gateway};
use crate::lanes::Lanes;
use crate::server::{Server, Signals};
use crate::sources::Fleet;
use crate::sources::health::Checkers;
use crate::tasks::Owned;
use crate::upstream::Upstream;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The settings do not make sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; hint: another program may have it; choose another with --listen"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The threads that serve connections cannot be started.
    #[error(
        "cannot start a thread: {source}; hint: raise the limits of processes and open files, or lower --threads"
    )]
    Threads {
        /// What the system said.
        source: std::io::Error,
    },
}

/// Starts a gateway: when this returns, it accepts connections, and requests wait for the first health checks.
///
/// # Errors
/// If the settings are refused or the address is taken.
pub async fn start(config: GatewayConfig) -> Result<RunningGateway, GatewayError> {
    config.check()?;
    let refused = |source| GatewayError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;

    let config = Arc::new(config);
    let (tasks, signals) = (Tasks::default(), Signals::default());
    let gateway = Arc::new(Gateway {
        core: Arc::new(Core::new(&config)),
        fleet: Arc::new(Fleet::new(&config.workers)),
        upstream: Upstream::new(&config),
        config: Arc::clone(&config),
        draining: CancellationToken::new(),
    });
    tasks.check(&gateway, &signals.abort);
    let lanes = Lanes::start(config.threads).map_err(|source| GatewayError::Threads { source })?;
    let fronts = lanes.all().iter().map(|lane| (lane.clone(), Front::new(&gateway))).collect();
    let server = Server::new(fronts, &config, Owned(tasks.connections.clone()), signals.clone());
    tasks.connections.spawn(server.run(listener));
    tracing::info!(%address, policy = %config.policy, workers = config.workers.len(), "gateway listens");
    let abandoned = signals.abort.clone().drop_guard();
    Ok(RunningGateway { address, gateway, tasks, signals, _abandoned: abandoned, _lanes: lanes })
}

/// A gateway that runs until it is shut down; dropping it cuts everything at once.
pub struct RunningGateway {
    address: SocketAddr,
    gateway: Arc<Gateway>,
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

    /// Requests that were routed and have not ended.
    pub fn in_flight(&self) -> usize {
        self.gateway.core.in_flight()
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
        gateway.draining.cancel();
        sleep(gateway.config.drain_delay_ms.duration()).await;
        signals.stop.cancel();
        tasks.connections.close();
        if timeout(gateway.config.drain_grace_ms.duration(), tasks.connections.wait()).await.is_err() {
            tracing::warn!(
                in_flight = gateway.core.in_flight(),
                "the grace period is over; what still runs is cut"
            );
        }
        signals.abort.cancel();
        tasks.connections.wait().await;
        tasks.checkers.close();
        tasks.checkers.wait().await;
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
    /// Starts the health checks of all workers; they run until `abort`.
    fn check(&self, gateway: &Gateway, abort: &CancellationToken) {
        let checkers = Arc::new(Checkers {
            fleet: Arc::clone(&gateway.fleet),
            core: Arc::clone(&gateway.core),
            upstream: gateway.upstream.clone(),
            config: Arc::clone(&gateway.config),
        });
        for worker in gateway.fleet.workers() {
            let (checkers, worker, abort) = (Arc::clone(&checkers), Arc::clone(worker), abort.clone());
            self.checkers.spawn(async move { abort.run_until_cancelled(checkers.watch(&worker)).await });
        }
    }
}
