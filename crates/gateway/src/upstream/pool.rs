//! Connections to workers that are open and have nothing to do, to be used again.
//!
//! The newest is taken first, so that those a burst needed age and go. They do not outlive `keep`, which is to be shorter than the time
//! after which the worker closes them itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection::Connection;
use crate::config::WorkerUrl;

/// Idle connections kept for one worker: more than an engine runs requests side by side.
const MOST_IDLE: usize = 1024;

/// Of these, the newest so many keep their room for reads, some kilobytes each. The rest is what a burst has left.
const MOST_ROOMY: usize = 16;

/// The idle connections of all workers.
pub(super) struct Pool {
    /// Guards which workers there are; held for one look-up.
    workers: Mutex<Workers>,
    keep: Duration,
}

struct Workers {
    by_url: HashMap<WorkerUrl, Arc<Idle>>,
    /// When those that nobody asks any more are looked through.
    next_sweep: Instant,
}

/// The idle connections to one worker. A request that has found it gives its connection back without looking for the worker again.
pub(super) struct Idle {
    /// Oldest first, each with when it is too old. Held for one of the calls below.
    connections: Mutex<VecDeque<(Connection, Instant)>>,
    keep: Duration,
}

impl Pool {
    pub(super) fn new(keep: Duration) -> Self {
        let workers = Workers { by_url: HashMap::new(), next_sweep: Instant::now() + keep };
        Self { workers: Mutex::new(workers), keep }
    }

    /// The connections to this worker.
    pub(super) fn of(&self, worker: &WorkerUrl, now: Instant) -> Arc<Idle> {
        let workers = &mut *self.workers.lock();
        if workers.next_sweep <= now {
            workers.next_sweep = now + self.keep;
            workers.by_url.retain(|_, idle| idle.is_of_use(now));
        }
        if let Some(idle) = workers.by_url.get(worker) {
            return Arc::clone(idle);
        }
        let idle = Arc::new(Idle { connections: Mutex::default(), keep: self.keep });
        workers.by_url.insert(worker.clone(), Arc::clone(&idle));
        idle
    }

    /// Workers that it has a connection to, or had until lately.
    #[cfg(test)]
    pub(super) fn workers(&self) -> usize {
        self.workers.lock().by_url.len()
    }
}

impl Idle {
    /// One on which nothing has happened since it was given back.
    pub(super) fn take(&self, now: Instant) -> Option<Connection> {
        let mut connections = self.connections.lock();
        drop_old(&mut connections, now);
        let mut newest_first =
            std::iter::from_fn(|| connections.pop_back()).map(|(connection, _)| connection);
        newest_first.find_map(|mut connection| connection.is_quiet().then_some(connection))
    }

    /// Keeps one whose last answer was read to its end.
    pub(super) fn give(&self, connection: Connection) {
        let until = Instant::now() + self.keep;
        let mut connections = self.connections.lock();
        if connections.len() == MOST_IDLE {
            connections.pop_front();
        }
        connections.push_back((connection, until));
        if let Some((older, _)) = connections.iter_mut().rev().nth(MOST_ROOMY) {
            older.shrink();
        }
    }

    /// Whether it has connections that are not too old, or a request that may give one back.
    fn is_of_use(self: &Arc<Self>, now: Instant) -> bool {
        let mut connections = self.connections.lock();
        drop_old(&mut connections, now);
        !connections.is_empty() || Arc::strong_count(self) > 1
    }
}

fn drop_old(connections: &mut VecDeque<(Connection, Instant)>, now: Instant) {
    while connections.front().is_some_and(|(_, until)| *until <= now) {
        connections.pop_front();
    }
}
