//! Discovery: sources that tell which workers there are, and tell again when that changes.
//!
//! All that a source does is answer [`Source::next`] with its whole list; adding, draining and removing workers is
//! [`Membership`]'s. A source that cannot be asked tells so, and its last list stays in force: a name server's bad minute must not empty
//! the fleet, and a worker that is really gone is found out by its health checks.

mod dns;
mod file;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Membership, Origin};
use crate::config::{FilePath, GatewayConfig, SourceConfig, WorkerConfig};

/// Why a source told nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}; hint: create it, with one http://host:port a line")]
    Unreadable { path: FilePath, source: std::io::Error },
    /// The file is no list of workers.
    #[error("{path}: {why}")]
    BadFile { path: FilePath, why: String },
    /// The name server does not answer, or knows no such name.
    #[error("{name} cannot be resolved: {why}; hint: ask for it with dig, and look at dns_server")]
    Unresolved { name: String, why: String },
}

/// Something that knows of workers.
pub(crate) trait Source: Send {
    /// The workers there are: at the first call at once, later when they may have changed. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Vec<WorkerConfig>, SourceError>> + Send;
}

/// Follows every source of the settings, as tasks of `tasks` that end with `abort`.
pub(crate) fn start(
    config: &GatewayConfig,
    members: &Arc<Membership>,
    tasks: &TaskTracker,
    abort: &CancellationToken,
) {
    for source in &config.discover.0 {
        let follower = Follower {
            members: Arc::clone(members),
            origin: Origin::Discovered(source.to_string().into()),
            abort: abort.clone(),
        };
        match source.clone() {
            SourceConfig::File(path) => drop(tasks.spawn(follower.follow(file::Listing::new(path)))),
            SourceConfig::Dns { host, port } => {
                let names = dns::Names::new(dns::Question::Addresses { host, port }, config.dns_server.0);
                drop(tasks.spawn(follower.follow(names)));
            }
            SourceConfig::Srv { name } => {
                let names = dns::Names::new(dns::Question::Services { name }, config.dns_server.0);
                drop(tasks.spawn(follower.follow(names)));
            }
        }
    }
}

/// Every address that a name has, at this port.
pub(crate) fn addresses(host: String, port: u16, server: Option<SocketAddr>) -> impl Source {
    dns::Names::new(dns::Question::Addresses { host, port }, server)
}

struct Follower {
    members: Arc<Membership>,
    origin: Origin,
    abort: CancellationToken,
}

impl Follower {
    async fn follow(self, mut source: impl Source) {
        let mut first = true;
        while let Some(told) = self.abort.run_until_cancelled(source.next()).await {
            match told {
                Ok(workers) => self.members.tell(&self.origin, workers),
                Err(error) => tracing::warn!(%error, "no workers were told; those known before stay"),
            }
            if std::mem::take(&mut first) {
                self.members.fleet().told();
            }
        }
    }
}
