//! A gateway that runs: what may be asked of it from outside, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin};
use crate::apis::{self, Door};
use crate::config::{ConfigError, GatewayConfig, WorkerConfig};
use crate::front::{Front, Gateway};
use crate::lanes::Lanes;
use crate::listener::Listener;
use crate::reload::{Reloaded, Reloader};
use crate::server::{Server, Serving, Signals};
use crate::sources::Membership;
use crate::sources::health::Checker;
use crate::tasks::Owned;

/// A gateway that runs until it is shut down; dropping it cuts everything at once.
pub struct RunningGateway {
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: Option<SocketAddr>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) members: Arc<Membership>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) tasks: Tasks,
    pub(crate) signals: Signals,
    pub(crate) _abandoned: DropGuard,
    pub(crate) lanes: Lanes,
}

impl RunningGateway {
    /// Begins to answer clients.
    pub(crate) fn serve(&self, clients: Listener, config: &GatewayConfig) {
        let lanes = self.lanes.all().iter();
        let fronts = lanes.map(|lane| (lane.clone(), Front::new(&self.gateway))).collect();
        let connections = Owned(self.tasks.connections.clone());
        let how = Serving::new(config, Arc::clone(&self.gateway.shown), connections, self.signals.clone());
        let server = Server::new(fronts, how, config.max_connections);
        self.tasks.connections.spawn(server.run(clients.listener));
    }

    /// Begins to answer those who operate it.
    pub(crate) fn serve_operators(&self, operators: Listener) {
        let (gateway, members, reloader) =
            (Arc::clone(&self.gateway), Arc::clone(&self.members), Arc::clone(&self.reloader));
        let door = Door { listener: operators.listener, shown: Arc::clone(&gateway.shown_to_operators) };
        let routes = admin::routes(&Arc::new(Admin { gateway, members, reloader }));
        let connections = self.tasks.connections.clone();
        self.tasks.connections.spawn(apis::serve(door, routes, connections, self.signals.clone()));
    }

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

    /// Waits until so many other gateways are heard.
    pub async fn peers(&self, count: usize) {
        self.gateway.peers.wait_for(count).await;
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
pub(crate) struct Tasks {
    /// The listener, clients' connections and their streams.
    pub(crate) connections: TaskTracker,
    /// One health checker per worker.
    pub(crate) checkers: TaskTracker,
}

impl Tasks {
    /// Who belongs to the fleet; every member's checker runs until `abort` or until its worker has gone.
    pub(crate) fn membership(&self, gateway: &Gateway, abort: &CancellationToken) -> Arc<Membership> {
        let checker = Checker {
            fleet: Arc::clone(&gateway.fleet),
            core: Arc::clone(&gateway.core),
            upstream: gateway.upstream.clone(),
            config: Arc::clone(&gateway.config),
        };
        Arc::new(Membership::new(checker, self.checkers.clone(), abort.clone()))
    }
}
