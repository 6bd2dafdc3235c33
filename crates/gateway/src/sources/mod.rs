//! Who tells the router about workers: health checks and descriptions now; discovery, KV events and load later.
//!
//! [`Fleet`] is the list of workers with what is known of each. Only a worker's own checker ([`health`]) changes its state, so
//! `Joined` and `Left` reach the router in order; the front may only cast doubt on a worker, which its checker acts on at once.

pub(crate) mod describe;
pub(crate) mod health;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::HeaderValue;
use http::uri::Authority;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use warmroute_routing::WorkerId;

use self::describe::Description;
use crate::config::WorkerConfig;

/// Whether a worker takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Its first probe has not ended yet.
    Unknown,
    /// It passes its probes.
    Up,
    /// It does not.
    Down,
}

impl State {
    /// The word for it in `/health`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// One worker: its address and what is known of it.
pub(crate) struct Worker {
    /// Its name in the router.
    pub id: WorkerId,
    /// Its name to people: host and port.
    pub name: Arc<str>,
    /// The same as the value of `x-warmroute-worker`.
    pub header: HeaderValue,
    authority: Authority,
    state: AtomicU8,
    doubted: Notify,
    /// What it said of itself when it last joined.
    description: Mutex<Arc<Description>>,
}

impl Worker {
    fn new(id: WorkerId, config: &WorkerConfig) -> Self {
        let authority = config.url.authority().clone();
        Self {
            id,
            name: authority.as_str().into(),
            header: HeaderValue::from_str(authority.as_str()).expect("a URL's authority is visible ASCII"),
            authority,
            state: AtomicU8::new(State::Unknown as u8),
            doubted: Notify::new(),
            description: Mutex::default(),
        }
    }

    /// Where it listens.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Whether it takes requests.
    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            up if up == State::Up as u8 => State::Up,
            down if down == State::Down as u8 => State::Down,
            _ => State::Unknown,
        }
    }

    /// What it said of itself.
    pub(crate) fn description(&self) -> Arc<Description> {
        Arc::clone(&self.description.lock())
    }

    /// The front could not connect: the checker takes the worker out now instead of at its next probe.
    pub(crate) fn doubt(&self) {
        self.doubted.notify_one();
    }
}

/// How far the checks of the whole fleet are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Workers whose first probe has ended.
    pub probed: usize,
    /// Workers that are up.
    pub up: usize,
}

/// All workers of the gateway.
pub(crate) struct Fleet {
    workers: Vec<Arc<Worker>>,
    standing: watch::Sender<Standing>,
}

impl Fleet {
    /// The configured workers, none of them probed yet.
    pub(crate) fn new(workers: &[WorkerConfig]) -> Self {
        let workers =
            (0_u32..).zip(workers).map(|(id, config)| Arc::new(Worker::new(WorkerId(id), config))).collect();
        Self { workers, standing: watch::Sender::default() }
    }

    /// All workers, in configured order.
    pub(crate) fn workers(&self) -> &[Arc<Worker>] {
        &self.workers
    }

    /// The worker behind the router's name for it.
    pub(crate) fn worker(&self, id: WorkerId) -> &Arc<Worker> {
        &self.workers[id.0 as usize]
    }

    /// Whether any worker takes requests.
    pub(crate) fn any_up(&self) -> bool {
        self.standing.borrow().up > 0
    }

    /// Waits until the standing is as wanted.
    pub(crate) async fn wait_for(&self, wanted: impl FnMut(&Standing) -> bool) {
        let mut standing = self.standing.subscribe();
        // The sender lives in `self`, so the channel cannot close under us.
        let _ = standing.wait_for(wanted).await;
    }

    /// Waits until every worker has been probed once; afterwards it returns at once, at the price of one read lock.
    pub(crate) async fn settled(&self) {
        if self.standing.borrow().probed < self.workers.len() {
            self.wait_for(|standing| standing.probed >= self.workers.len()).await;
        }
    }

    /// A checker's finding. Only the worker's own checker may call this.
    fn set_state(&self, worker: &Worker, state: State) {
        let before = worker.state();
        if before == state {
            return;
        }
        worker.state.store(state as u8, Ordering::Release);
        self.standing.send_modify(|standing| {
            standing.probed += usize::from(before == State::Unknown);
            standing.up += usize::from(state == State::Up);
            standing.up -= usize::from(before == State::Up);
        });
    }
}
