//! Connections to workers that are open and have nothing to do, to be used again.
//!
//! The newest is taken first, so that those a burst needed age and go. They do not outlive `keep`, which is to be shorter than the time
//! after which the worker closes them itself. Those of workers that are asked no more, since they have left, are swept out now and then.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use http::uri::Authority;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection::Connection;

/// Idle connections kept for one worker: more than an engine runs requests side by side.
const MOST_IDLE: usize = 1024;

/// The idle connections of all workers.
pub(super) struct Pool {
    /// Held for one of the calls below.
    idle: Mutex<Lists>,
    keep: Duration,
}

struct Lists {
    /// Oldest connection first.
    of: HashMap<Authority, VecDeque<Idle>>,
    /// When all of them are looked through again.
    sweep: Instant,
}

impl Lists {
    /// Lets go of what has been idle for too long, whoever's it is.
    fn sweep(&mut self, now: Instant) {
        self.of.retain(|_, list| {
            drop_old(list, now);
            !list.is_empty()
        });
    }
}

fn drop_old(list: &mut VecDeque<Idle>, now: Instant) {
    while list.front().is_some_and(|oldest| oldest.until <= now) {
        list.pop_front();
    }
}

struct Idle {
    connection: Connection,
    until: Instant,
}

impl Pool {
    pub(super) fn new(keep: Duration) -> Self {
        Self { idle: Mutex::new(Lists { of: HashMap::new(), sweep: Instant::now() + keep }), keep }
    }

    /// A connection to this worker on which nothing has happened since it was given back.
    pub(super) fn take(&self, authority: &Authority) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        let list = idle.of.get_mut(authority)?;
        drop_old(list, now);
        let found = std::iter::from_fn(|| list.pop_back()).find(|newest| newest.connection.is_quiet());
        if list.is_empty() && found.is_none() {
            idle.of.remove(authority);
        }
        found.map(|newest| newest.connection)
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn give(&self, authority: Authority, connection: Connection) {
        let now = Instant::now();
        let until = now + self.keep;
        let mut idle = self.idle.lock();
        if idle.sweep <= now {
            idle.sweep(now);
            idle.sweep = until;
        }
        let list = idle.of.entry(authority).or_default();
        if list.len() == MOST_IDLE {
            list.pop_front();
        }
        list.push_back(Idle { connection, until });
    }

    /// Workers that it has a connection to, or had until lately.
    #[cfg(test)]
    pub(super) fn workers(&self) -> usize {
        self.idle.lock().of.len()
    }
}
