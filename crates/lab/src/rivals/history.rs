//! What a router that never hears from its workers believes they hold: its own decisions, in one bounded cache each.
//!
//! Workers go by their ids. One that is not among the candidates is forgotten, which is what these routers do when a
//! worker is removed, and what bounds the memory: a pool of the given size for each candidate. A worker that dies and is
//! back before the next decision is *not* noticed, as it is not upstream: the belief then outlives the cache.

use std::collections::BTreeMap;

use warmroute_kv::{BlockPool, Blocks, KvEvents};
use warmroute_routing::policy::Candidates;
use warmroute_routing::{Request, WorkerId};

/// One cache per worker, filled with what the worker was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    workers: BTreeMap<WorkerId, BlockPool>,
    /// Nobody reads them; kept for their memory.
    events: KvEvents,
}

impl History {
    /// Makes room for `capacity` blocks for each candidate, and forgets everybody else.
    pub(super) fn fit(&mut self, among: Candidates<'_>, capacity: Blocks) {
        let mut before = std::mem::take(&mut self.workers);
        for candidate in among.iter() {
            let mut pool = before.remove(&candidate.worker).unwrap_or_else(|| BlockPool::new(capacity));
            if pool.capacity() != capacity {
                pool.resize(capacity, &mut self.events);
                self.events.clear();
            }
            self.workers.insert(candidate.worker, pool);
        }
    }

    /// How many leading blocks of the prompt the worker was sent and is believed to hold still.
    pub(super) fn known(&self, worker: WorkerId, request: &Request<'_>) -> usize {
        let chain = request.blocks.iter().map(|block| (*block, &()));
        self.workers.get(&worker).map_or(0, |pool| pool.longest_prefix(chain))
    }

    /// How many blocks the worker is believed to hold.
    pub(super) fn size(&self, worker: WorkerId) -> usize {
        self.workers.get(&worker).map_or(0, |pool| pool.resident().get())
    }

    /// The worker is sent this prompt.
    pub(super) fn send(&mut self, worker: WorkerId, request: &Request<'_>) {
        if let Some(pool) = self.workers.get_mut(&worker) {
            pool.touch(request.root, request.blocks, &mut self.events);
            self.events.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::BlockHash;
    use warmroute_routing::policy::Occasion;

    use super::super::scene::{prompt, worker};
    use super::*;

    #[test]
    fn a_worker_that_leaves_is_forgotten_and_a_long_history_is_cut() {
        let all = [worker(0), worker(1)];
        let among = |count: usize| Candidates::new(&all[..count], Occasion::default()).unwrap();
        let (one, other) = (prompt(1, 3), prompt(2, 3));
        let [one, other] = [&one, &other].map(|blocks| Request::new(BlockHash(0), blocks));
        let mut history = History::default();
        history.fit(among(2), Blocks(4));
        history.send(WorkerId(1), &one);
        assert_eq!(history.known(WorkerId(1), &one), 3);
        history.send(WorkerId(1), &other);
        assert_eq!(
            (history.known(WorkerId(1), &one), history.size(WorkerId(1))),
            (1, 4),
            "room for four: the older prompt lost its end"
        );
        history.fit(among(1), Blocks(4));
        history.fit(among(2), Blocks(4));
        assert_eq!(history.size(WorkerId(1)), 0, "it was away");
    }
}
