//! Where requests wait when every worker is full, and in which order they get the room that becomes free.
//!
//! [`line`] says who is next; this is the thin shell around it that wakes and bounds. A request that is called asks the router where it goes
//! *then*: caches and queues have changed while it waited. What is called is one request for each end of another, and each that finds
//! room calls the next, until one finds none. A request whose client has gone leaves at once, since its future is dropped, and hands a
//! call that it had on.
//!
//! The invariant that nobody waits beside free room: whoever finds no room looks again if anything ended between the look and the wait.

mod line;
mod queues;
mod rate;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use warmroute_kv::Tokens;
use warmroute_routing::NoWorker;

pub(crate) use self::line::{Asker, Priority};
use self::line::{Line, Ticket};
pub(crate) use self::queues::Queues;
use self::rate::Rate;

/// How many may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub requests: usize,
    pub time: Duration,
}

/// Why a request that waited, or would have, is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// So many wait already.
    Crowded { waiting: usize, retry_after: Duration },
    /// It has waited as long as it may.
    Late { waited: Duration, retry_after: Duration },
    /// There is nobody to wait for.
    Nobody(NoWorker),
}

impl Turned {
    /// Why, as metrics have it.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Crowded { .. } => "full",
            Self::Late { .. } => "deadline",
            Self::Nobody(_) => "no_worker",
        }
    }
}

/// The queue for one set of workers.
pub(crate) struct Queue {
    /// How many wait. Read without the lock by every request and at every end of one: hardly ever does anybody wait.
    waiting: AtomicUsize,
    /// Held for one call of the line at a time, and never while the router is asked.
    state: Mutex<State>,
}

struct State {
    line: Line,
    bells: HashMap<Ticket, Arc<Notify>>,
    /// Room may have become free when everybody in line was called already.
    missed: bool,
    rate: Rate,
}

impl Queue {
    /// Nobody waits.
    pub(crate) fn new() -> Self {
        let state = State {
            line: Line::default(),
            bells: HashMap::new(),
            missed: false,
            rate: Rate::new(Instant::now()),
        };
        Self { waiting: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Room may have become free.
    pub(crate) fn call(&self) {
        if self.waiting() > 0 {
            self.state.lock().call();
        }
    }

    /// Waits until it is this request's turn and `seek` finds room, which says what it costs in uncached tokens. Dropping the future gives
    /// up the place.
    pub(crate) async fn in_turn<T>(
        &self,
        asker: Asker,
        bounds: Bounds,
        mut seek: impl FnMut() -> Result<(T, Tokens), NoWorker>,
    ) -> Result<T, Turned> {
        let place = self.enter(asker, bounds.requests)?;
        let served = async {
            loop {
                place.bell.notified().await;
                match seek() {
                    Ok((found, cost)) => {
                        place.serve(cost);
                        return Ok(found);
                    }
                    Err(NoWorker::Full) => place.wait_on(),
                    Err(nobody) => return Err(Turned::Nobody(nobody)),
                }
            }
        };
        match timeout(bounds.time, served).await {
            Ok(ended) => ended,
            Err(_) => Err(Turned::Late { waited: bounds.time, retry_after: self.takes() }),
        }
    }

    /// How long the line takes as it is now.
    fn takes(&self) -> Duration {
        let state = self.state.lock();
        state.rate.takes(state.line.len().max(1), Instant::now())
    }

    fn enter(&self, asker: Asker, most: usize) -> Result<Place<'_>, Turned> {
        let now = Instant::now();
        let state = &mut *self.state.lock();
        let waiting = state.line.len();
        if waiting >= most {
            return Err(Turned::Crowded { waiting, retry_after: state.rate.takes(waiting.max(1), now) });
        }
        let ticket = state.line.enter(asker, now);
        let bell = Arc::new(Notify::new());
        state.bells.insert(ticket, Arc::clone(&bell));
        self.waiting.store(state.line.len(), Ordering::SeqCst);
        if waiting == 0 {
            // Between its look and this, the last request may have ended, which then called nobody.
            state.call();
        }
        Ok(Place { queue: self, ticket, bell })
    }
}

impl State {
    fn call(&mut self) {
        match self.line.call(Instant::now()).and_then(|ticket| self.bells.get(&ticket)) {
            Some(bell) => bell.notify_one(),
            None => self.missed = true,
        }
    }
}

/// A request's place in line.
struct Place<'q> {
    queue: &'q Queue,
    ticket: Ticket,
    bell: Arc<Notify>,
}

impl Place<'_> {
    /// There was no room.
    fn wait_on(&self) {
        let state = &mut *self.queue.state.lock();
        if std::mem::take(&mut state.missed) {
            self.bell.notify_one();
        } else {
            state.line.wait_on(self.ticket);
        }
    }

    /// There was room. There may be more.
    fn serve(&self, cost: Tokens) {
        let state = &mut *self.queue.state.lock();
        state.line.serve(self.ticket, cost.0);
        state.rate.served(Instant::now());
        if state.line.len() > 0 {
            state.call();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let state = &mut *self.queue.state.lock();
        state.bells.remove(&self.ticket);
        let called = state.line.leave(self.ticket) == Some(true);
        self.queue.waiting.store(state.line.len(), Ordering::SeqCst);
        if state.line.len() == 0 {
            state.missed = false;
        } else if called {
            state.call();
        }
    }
}
