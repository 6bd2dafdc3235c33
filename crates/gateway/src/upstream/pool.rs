//! Connections to workers that are open and have nothing to do, to be used again.
//!
//! The newest is taken first, so that those a burst needed age and go. They do not outlive `keep`, which is to be shorter than the time
//! after which the worker closes them itself.

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
    /// Guards the lists, oldest connection first; held for one of the calls below.
    idle: Mutex<HashMap<Authority, VecDeque<Idle>>>,
    keep: Duration,
}

struct Idle {
    connection: Connection,
    until: Instant,
}

impl Pool {
    pub(super) fn new(keep: Duration) -> Self {
        Self { idle: Mutex::default(), keep }
    }

    /// A connection to this worker on which nothing has happened since it was given back.
    pub(super) fn take(&self, authority: &Authority) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        let list = idle.get_mut(authority)?;
        while list.front().is_some_and(|oldest| oldest.until <= now) {
            list.pop_front();
        }
        let found = std::iter::from_fn(|| list.pop_back()).find(|newest| newest.connection.is_quiet());
        if list.is_empty() && found.is_none() {
            idle.remove(authority);
        }
        found.map(|newest| newest.connection)
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn give(&self, authority: Authority, connection: Connection) {
        let until = Instant::now() + self.keep;
        let mut idle = self.idle.lock();
        let list = idle.entry(authority).or_default();
        if list.len() == MOST_IDLE {
            list.pop_front();
        }
        list.push_back(Idle { connection, until });
    }
}
