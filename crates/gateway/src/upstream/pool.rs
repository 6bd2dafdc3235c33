//! Connections to workers that are open and have nothing to do, to be used again.
//!
//! The newest is taken first, so that those a burst needed age and go. They do not outlive `keep`, which is to be shorter than the time
//! after which the worker closes them itself.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection::Connection;
use crate::config::WorkerUrl;

/// Idle connections kept for one worker: more than an engine runs requests side by side.
const MOST_IDLE: usize = 1024;

/// The idle connections of all workers.
pub(super) struct Pool {
    /// Guards the lists; held for one of the calls below.
    idle: Mutex<Lists>,
    keep: Duration,
}

struct Lists {
    /// Oldest connection first.
    by_worker: HashMap<WorkerUrl, VecDeque<Idle>>,
    /// When those of workers that nobody asks any more are looked through.
    next_sweep: Instant,
}

struct Idle {
    connection: Connection,
    until: Instant,
}

impl Pool {
    pub(super) fn new(keep: Duration) -> Self {
        let lists = Lists { by_worker: HashMap::new(), next_sweep: Instant::now() + keep };
        Self { idle: Mutex::new(lists), keep }
    }

    /// A connection to this worker on which nothing has happened since it was given back.
    pub(super) fn take(&self, worker: &WorkerUrl) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        let list = idle.by_worker.get_mut(worker)?;
        drop_old(list, now);
        let mut newest_first = std::iter::from_fn(|| list.pop_back()).map(|idle| idle.connection);
        newest_first.find_map(|mut connection| connection.is_quiet().then_some(connection))
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn give(&self, worker: WorkerUrl, connection: Connection) {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        if idle.next_sweep <= now {
            idle.next_sweep = now + self.keep;
            idle.by_worker.retain(|_, list| {
                drop_old(list, now);
                !list.is_empty()
            });
        }
        let list = idle.by_worker.entry(worker).or_default();
        if list.len() == MOST_IDLE {
            list.pop_front();
        }
        list.push_back(Idle { connection, until: now + self.keep });
    }

    /// Workers that it has a connection to, or had until lately.
    #[cfg(test)]
    pub(super) fn workers(&self) -> usize {
        self.idle.lock().by_worker.len()
    }
}

fn drop_old(list: &mut VecDeque<Idle>, now: Instant) {
    while list.front().is_some_and(|oldest| oldest.until <= now) {
        list.pop_front();
    }
}
