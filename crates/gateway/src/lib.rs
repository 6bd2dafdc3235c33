//! The gateway: an OpenAI-compatible HTTP front, the router in the middle, workers behind.
//!
//! `front` is who asks (HTTP), `sources` is who tells (discovery, health and descriptions of workers), `peers` are the other gateways, `admin` is who operates, `show` and
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
mod listener;
mod peers;
mod queue;
mod quiet;
mod reload;
mod running;
mod server;
mod show;
mod silence;
mod sources;
mod spans;
mod tasks;
mod tls;
mod tokens;
mod upstream;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Live;
pub use crate::config::{
    AliasConfig, ConfigError, GatewayConfig, Mark, Millis, ModelConfig, SETTINGS, Setting, TokenizerSource,
    WorkerConfig, WorkerUrl,
};
use crate::core::Core;
use crate::front::{Budget, Gateway};
use crate::journal::Journal;
pub use crate::journal::LogError;
use crate::keys::Gate;
pub use crate::keys::{BadKeys, Keys};
use crate::lanes::Lanes;
use crate::listener::Listener;
pub use crate::listener::Sockets;
#[cfg(fuzzing)]
pub use crate::peers::fuzzed as peers_fuzzed;
use crate::peers::{Parts, Peers};
use crate::reload::Reloader;
pub use crate::reload::{Origins, Reloaded};
pub use crate::running::RunningGateway;
use crate::running::Tasks;
use crate::server::Signals;
use crate::sources::{Fleet, Origin, discovery};
use crate::spans::{Exporter, Spans, Told};
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
    let (gateway, told) = gateway(&config, tokenizers, (&tasks, &signals))?;
    if let (Some(told), Some(collector)) = (told, config.otlp_endpoint.0.clone()) {
        let exporter = Exporter { told, collector, upstream: gateway.upstream.beside(&config) };
        tasks.checkers.spawn(exporter.run(signals.abort.clone()));
    }
    let members = tasks.membership(&gateway, &signals.abort);
    members.tell(&Origin::Settings, config.workers.clone());
    members.fleet().told();
    discovery::start(&config, &members, &tasks.checkers, &signals.abort);
    gateway.peers.follow(&config.peers);

    let reloader = Arc::new(Reloader::new(&gateway, &members, origins, config.clone()));
    if config.reload_on_change {
        let (reloader, abort) = (Arc::clone(&reloader), signals.abort.clone());
        tasks.checkers.spawn(async move { abort.run_until_cancelled(reloader.follow_files()).await });
    }
    let lanes = Lanes::start(config.threads).map_err(|source| GatewayError::Threads { source })?;
    let running = RunningGateway {
        address: clients.address,
        admin_address: operators.as_ref().map(|listener| listener.address),
        gateway,
        members,
        reloader,
        tasks,
        _abandoned: signals.abort.clone().drop_guard(),
        signals,
        lanes,
    };
    running.serve(clients, &config);
    if let Some(operators) = operators {
        running.serve_operators(operators);
    }
    let (address, admin_address) = (running.address, running.admin_address);
    tracing::info!(%address, ?admin_address, policy = %config.policy, workers = config.workers.len(), "gateway listens");
    Ok(running)
}

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
    (tasks, signals): (&Tasks, &Signals),
) -> Result<(Arc<Gateway>, Option<Receiver<Told>>), GatewayError> {
    let core = Arc::new(Core::new(config));
    let (spans, told) = Spans::new(config);
    // The settings themselves are a source too.
    let fleet = Arc::new(Fleet::new(1 + config.discover.0.len()));
    let upstream = Upstream::new(config).map_err(ConfigError::from)?;
    let live = Arc::new(Live::new(config.clone()));
    let parts = Parts {
        core: Arc::clone(&core),
        fleet: Arc::clone(&fleet),
        upstream: upstream.beside(config),
        config: Arc::clone(&live),
    };
    let gateway = Gateway {
        peers: Arc::new(Peers::new(parts, tasks.checkers.clone(), signals.abort.clone())),
        fleet,
        upstream,
        config: live,
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
