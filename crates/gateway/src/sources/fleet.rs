//! The list of workers, which changes while requests read it.
//!
//! Readers take a snapshot without a lock; a change makes a new list. Ids count up and are never given twice, so that a late word about
//! a worker that is gone cannot be taken for one about its successor. A worker is on the list for as long as a request is booked on
//! it, so a decision always finds its worker there.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use warmroute_routing::WorkerId;

use super::catalogue::Catalogue;
use super::describe::Description;
use super::worker::{Health, State, Worker};
use crate::config::WorkerConfig;
use crate::show::metrics::Metrics;

/// How far the checks of the whole fleet are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What the first requests wait for: sources of workers that have not told any, and first probes of the workers they told.
    pub awaited: usize,
    /// Workers that take requests.
    pub up: usize,
    /// All workers, those that are leaving included.
    pub workers: usize,
}

/// All workers of the gateway.
pub(crate) struct Fleet {
    /// In order of their ids.
    workers: ArcSwap<Vec<Arc<Worker>>>,
    /// Held while the list or the standing is changed.
    changing: Mutex<Changing>,
    standing: watch::Sender<Standing>,
    catalogue: ArcSwap<Catalogue>,
}

struct Changing {
    next: u32,
    /// Sources of workers that have not told any yet.
    silent: usize,
    /// Workers that were told while some source was silent, until their first probe.
    awaited: Vec<WorkerId>,
}

impl Fleet {
    /// Nobody yet; so many sources will tell of workers.
    pub(crate) fn new(sources: usize) -> Self {
        let standing = Standing { awaited: sources, ..Standing::default() };
        Self {
            workers: ArcSwap::default(),
            changing: Mutex::new(Changing { next: 0, silent: sources, awaited: Vec::new() }),
            standing: watch::Sender::new(standing),
            catalogue: ArcSwap::default(),
        }
    }

    /// The models of the fleet as they are now.
    pub(crate) fn catalogue(&self) -> arc_swap::Guard<Arc<Catalogue>> {
        self.catalogue.load()
    }

    /// A worker has said what it is. To be told before the router may choose it, which would otherwise give it what it does not serve.
    pub(super) fn described(&self, worker: &Worker, description: Description) {
        worker.describe(description);
        self.changed();
    }

    /// All workers as they are now, in order of their ids.
    pub(crate) fn workers(&self) -> Arc<Vec<Arc<Worker>>> {
        self.workers.load_full()
    }

    /// The worker behind the router's name for it, if it is still there.
    pub(crate) fn worker(&self, id: WorkerId) -> Option<Arc<Worker>> {
        let workers = self.workers.load();
        let place = workers.binary_search_by_key(&id, |worker| worker.id).ok()?;
        Some(Arc::clone(&workers[place]))
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

    /// Whether every worker known at start-up has been probed once, as it stays ever after.
    pub(crate) fn is_settled(&self) -> bool {
        self.standing.borrow().awaited == 0
    }

    /// Waits for that.
    pub(crate) async fn settled(&self) {
        self.wait_for(|standing| standing.awaited == 0).await;
    }

    /// Takes a worker in, not probed yet.
    pub(super) fn admit(&self, config: &WorkerConfig) -> Arc<Worker> {
        let mut changing = self.changing.lock();
        let id = WorkerId(changing.next);
        // 2^32 workers, one every second, last for a century.
        changing.next = changing.next.checked_add(1).expect("nobody has so many workers");
        if changing.silent > 0 {
            changing.awaited.push(id);
        }
        let worker = Arc::new(Worker::new(id, config));
        let mut workers = Vec::clone(&self.workers.load());
        workers.push(Arc::clone(&worker));
        self.workers.store(Arc::new(workers));
        self.recount(&mut changing);
        worker
    }

    /// Shows nothing more of a worker that is not on the list, unless another has its name.
    pub(crate) fn forget(&self, metrics: &Metrics, worker: &Worker) {
        if !self.workers().iter().any(|other| other.name == worker.name) {
            metrics.forget(&worker.name);
        }
    }

    /// Takes a worker off the list.
    pub(super) fn dismiss(&self, id: WorkerId) {
        let mut changing = self.changing.lock();
        let mut workers = Vec::clone(&self.workers.load());
        workers.retain(|worker| worker.id != id);
        self.workers.store(Arc::new(workers));
        self.recount(&mut changing);
    }

    /// A source has told its workers for the first time, or failed to.
    pub(crate) fn told(&self) {
        let mut changing = self.changing.lock();
        changing.silent = changing.silent.saturating_sub(1);
        self.recount(&mut changing);
    }

    /// A worker's health or draining has changed.
    pub(super) fn changed(&self) {
        self.recount(&mut self.changing.lock());
    }

    fn recount(&self, changing: &mut Changing) {
        let workers = self.workers.load();
        let unprobed = |id: &WorkerId| {
            workers.iter().any(|worker| worker.id == *id && worker.health() == Health::Unknown)
        };
        changing.awaited.retain(unprobed);
        let up = workers.iter().filter(|worker| worker.state() == State::Up).count();
        self.catalogue.store(Arc::new(Catalogue::of(&workers)));
        let standing =
            Standing { awaited: changing.silent + changing.awaited.len(), up, workers: workers.len() };
        self.standing.send_if_modified(|before| std::mem::replace(before, standing) != standing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_never_given_twice_and_the_list_stays_in_order() {
        let fleet = Fleet::new(0);
        let config: WorkerConfig = "http://w:1".parse().unwrap();
        let (first, second) = (fleet.admit(&config), fleet.admit(&config));
        fleet.dismiss(first.id);
        fleet.dismiss(second.id);
        let third = fleet.admit(&config);
        assert_eq!((first.id, second.id, third.id), (WorkerId(0), WorkerId(1), WorkerId(2)));
        assert!(fleet.worker(first.id).is_none());
        assert_eq!(fleet.worker(third.id).map(|worker| worker.id), Some(third.id));
    }

    #[test]
    fn requests_at_start_up_wait_for_those_who_were_there_and_not_for_those_who_come_later() {
        let fleet = Fleet::new(1);
        let config: WorkerConfig = "http://w:1".parse().unwrap();
        let first = fleet.admit(&config);
        fleet.told();
        let awaited = || fleet.standing.borrow().awaited;
        assert_eq!(awaited(), 1);
        first.set_health(Health::Down);
        fleet.changed();
        fleet.admit(&config);
        assert_eq!(awaited(), 0);
    }
}
