//! Who belongs to the fleet: the union of what every origin wants, brought about worker by worker.
//!
//! An origin (the settings, the admin API, a source of discovery) tells its whole list whenever it changes. A worker that no list names
//! any more is *drained and then removed*: it gets nothing new from that moment on, and goes when its last request has ended. A worker
//! that the admin API removed stays out for as long as its origin goes on naming it, since that origin knows nothing of the removal.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warmroute_routing::{Event, WorkerId};

use super::health::Checker;
use super::{Fleet, Worker};
use crate::config::{WorkerConfig, WorkerUrl};

/// Who wants a worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The file, the environment or a flag.
    Settings,
    /// Somebody, by the admin API.
    Api,
    /// A source of discovery, by its name.
    Discovered(Arc<str>),
}

/// A list longer than this is taken for a mistake, such as a file that is no list of workers: every worker costs a task and a probe a
/// second, and every decision looks at all of them.
const MOST_WORKERS: usize = 4096;

/// What every origin wants.
#[derive(Default)]
struct Wanted {
    lists: BTreeMap<Origin, Vec<WorkerConfig>>,
    /// Removed by hand, though some list may name them.
    dismissed: HashSet<WorkerUrl>,
}

impl Wanted {
    fn named(&self) -> impl Iterator<Item = &WorkerConfig> {
        self.lists.values().flatten()
    }

    fn wants(&self, url: &WorkerUrl) -> bool {
        !self.dismissed.contains(url) && self.named().any(|config| config.url == *url)
    }
}

/// Brings the fleet to what is wanted.
pub(crate) struct Membership {
    checker: Arc<Checker>,
    /// The checkers.
    tasks: TaskTracker,
    abort: CancellationToken,
    /// Held while members are added or told to go, so that two origins cannot add the same worker.
    wanted: Mutex<Wanted>,
}

impl Membership {
    /// Nobody is wanted yet. Checkers are tasks of `tasks` and run until `abort` or until their worker has gone.
    pub(crate) fn new(checker: Checker, tasks: TaskTracker, abort: CancellationToken) -> Self {
        Self { checker: Arc::new(checker), tasks, abort, wanted: Mutex::default() }
    }

    /// The workers.
    pub(crate) fn fleet(&self) -> &Fleet {
        &self.checker.fleet
    }

    /// `origin` wants these workers and no others.
    pub(crate) fn tell(&self, origin: &Origin, mut list: Vec<WorkerConfig>) {
        if list.len() > MOST_WORKERS {
            tracing::warn!(
                ?origin,
                listed = list.len(),
                MOST_WORKERS,
                "too many workers; the rest is left out"
            );
            list.truncate(MOST_WORKERS);
        }
        let mut wanted = self.wanted.lock();
        wanted.lists.insert(origin.clone(), list);
        let Wanted { lists, dismissed } = &mut *wanted;
        dismissed.retain(|url| lists.values().flatten().any(|config| config.url == *url));
        self.reconcile(&wanted);
    }

    /// Adds one worker by hand. `None` if it is there already; one that is leaving is joined by a new one at the same address.
    pub(crate) fn add(&self, config: &WorkerConfig) -> Option<Arc<Worker>> {
        let mut wanted = self.wanted.lock();
        if self.member(&config.url).is_some() {
            return None;
        }
        wanted.dismissed.remove(&config.url);
        if !wanted.wants(&config.url) {
            wanted.lists.entry(Origin::Api).or_default().push(config.clone());
        }
        self.reconcile(&wanted);
        self.member(&config.url)
    }

    /// Drains a worker and removes it once its last request has ended; `false` if there is no such worker.
    pub(crate) fn remove(&self, id: WorkerId) -> bool {
        let Some(worker) = self.fleet().worker(id) else { return false };
        let mut wanted = self.wanted.lock();
        if let Some(by_hand) = wanted.lists.get_mut(&Origin::Api) {
            by_hand.retain(|config| config.url != worker.url);
        }
        if wanted.wants(&worker.url) {
            wanted.dismissed.insert(worker.url.clone());
        }
        self.let_go(&worker);
        true
    }

    /// The same, by address.
    pub(crate) fn remove_at(&self, url: &WorkerUrl) -> bool {
        self.member(url).is_some_and(|worker| self.remove(worker.id))
    }

    /// Lets a worker finish what it has, or lets it take requests again; `false` if there is no such worker or it is leaving.
    pub(crate) fn set_draining(&self, id: WorkerId, draining: bool) -> bool {
        let Some(worker) = self.fleet().worker(id).filter(|worker| !worker.leaving()) else { return false };
        let _unchanged = self.wanted.lock();
        self.drain(&worker, draining);
        true
    }

    /// Who wants the worker at this address.
    pub(crate) fn origins(&self, url: &WorkerUrl) -> Vec<Origin> {
        let wanted = self.wanted.lock();
        let names = |list: &Vec<WorkerConfig>| list.iter().any(|config| config.url == *url);
        wanted.lists.iter().filter(|(_, list)| names(list)).map(|(origin, _)| origin.clone()).collect()
    }

    fn member(&self, url: &WorkerUrl) -> Option<Arc<Worker>> {
        let workers = self.fleet().workers();
        workers.iter().find(|worker| worker.url == *url && !worker.leaving()).map(Arc::clone)
    }

    fn reconcile(&self, wanted: &Wanted) {
        for worker in self.fleet().workers().iter().filter(|worker| !worker.leaving()) {
            if !wanted.wants(&worker.url) {
                self.let_go(worker);
            }
        }
        for config in wanted.named().filter(|config| !wanted.dismissed.contains(&config.url)) {
            match self.member(&config.url) {
                Some(worker) => worker.configure(config),
                None => self.take_in(config),
            }
        }
    }

    fn take_in(&self, config: &WorkerConfig) {
        let worker = self.fleet().admit(config);
        tracing::debug!(worker = %worker.name, id = worker.id.0, "worker is known");
        let (checker, abort) = (Arc::clone(&self.checker), self.abort.clone());
        self.tasks.spawn(async move { abort.run_until_cancelled(checker.accompany(&worker)).await });
    }

    fn let_go(&self, worker: &Worker) {
        tracing::info!(worker = %worker.name, "worker is leaving: it gets nothing new, and goes with its last request");
        self.drain(worker, true);
        worker.leaving.cancel();
    }

    fn drain(&self, worker: &Worker, draining: bool) {
        if worker.draining() == draining {
            return;
        }
        // In this order: the checker looks at the flag after it has told the router of a join, so neither can miss the other.
        worker.set_draining(draining);
        let worker = worker.id;
        self.checker.core.observe(if draining {
            Event::Drained { worker }
        } else {
            Event::Resumed { worker }
        });
        self.fleet().changed();
    }
}
