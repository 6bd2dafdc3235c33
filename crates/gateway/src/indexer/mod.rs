//! The indexer service: for routers of other people, who holds how much of a prompt, by the engines' own KV events.
//!
//! It is the gateway's way from socket to index without the gateway: publishers are registered over HTTP, followed as a worker's are, and
//! asked for by tokens. The API is that of Mooncake's RFC 1403, in the form in which NVIDIA Dynamo's indexer answers; `docs/indexer.md`
//! has it.

mod answer;
mod api;
mod form;
mod registry;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{Duration, timeout};
use tokio_util::task::TaskTracker;

pub use self::form::{BadPublisher, GroupName, InstanceId, Publisher, Registration};
use self::registry::Registry;
pub use self::registry::Unregistrable;
use crate::apis::Door;
use crate::listener::Listener;
use crate::server::Signals;
use crate::{GatewayError, apis};

/// Questions are answered in microseconds; whoever has not been answered by then does not read.
const GRACE: Duration = Duration::from_secs(5);

/// What an indexer needs to know.
#[derive(Clone, Debug)]
pub struct IndexerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Publishers that are followed from the start.
    pub publishers: Vec<Registration>,
}

/// Starts an indexer: when this returns, it accepts connections.
///
/// # Errors
/// If the address is taken, or a publisher cannot be registered.
pub async fn start(config: IndexerConfig) -> Result<RunningIndexer, IndexerError> {
    let Listener { listener, address } = Listener::bind(config.listen, "listen").await?;
    let (registry, tasks, signals) = (Arc::new(Registry::default()), TaskTracker::new(), Signals::default());
    for publisher in config.publishers {
        registry.register(publisher)?;
    }
    let routes = api::routes(Arc::clone(&registry));
    tasks.spawn(apis::serve(Door::plain(listener), routes, tasks.clone(), signals.clone()));
    tracing::info!(%address, "indexer listens");
    Ok(RunningIndexer { address, registry, tasks, signals })
}

/// Why an indexer did not start.
#[derive(Debug, thiserror::Error)]
pub enum IndexerError {
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] GatewayError),
    /// A publisher cannot be followed.
    #[error(transparent)]
    Publisher(#[from] Unregistrable),
}

/// An indexer that runs until it is shut down.
pub struct RunningIndexer {
    address: SocketAddr,
    registry: Arc<Registry>,
    tasks: TaskTracker,
    signals: Signals,
}

impl RunningIndexer {
    /// Where it listens; the real port if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what was asked, and ends.
    pub async fn shutdown(self) {
        self.signals.stop.cancel();
        self.tasks.close();
        if timeout(GRACE, self.tasks.wait()).await.is_err() {
            self.signals.abort.cancel();
            self.tasks.wait().await;
        }
        self.registry.clear();
        tracing::info!("indexer stopped");
    }
}

impl Drop for RunningIndexer {
    fn drop(&mut self) {
        self.signals.abort.cancel();
    }
}
