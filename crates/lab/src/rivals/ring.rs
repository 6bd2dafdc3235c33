//! A consistent hash ring: workers stand at several pseudo-random points, and a key belongs to the next point after it.
//!
//! When a worker joins or leaves, only the keys next to its points move. The points follow from the workers' ids alone,
//! so that several gateways agree. There are `replicas` points per candidate and no others.

use warmroute_kv::BlockHash;
use warmroute_routing::WorkerId;
use warmroute_routing::policy::{Candidate, Candidates};

/// The ring over the workers that were last seen.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    replicas: usize,
    workers: Vec<WorkerId>,
    /// Where each worker stands, in ascending order.
    points: Vec<(u64, WorkerId)>,
}

impl Ring {
    /// An empty ring that will give each worker `replicas` points.
    pub(super) const fn new(replicas: usize) -> Self {
        Self { replicas, workers: Vec::new(), points: Vec::new() }
    }

    /// The candidates in the order in which their points follow `key`, each as often as it has points.
    pub(super) fn after<'a>(
        &mut self,
        key: u64,
        among: Candidates<'a>,
    ) -> impl Iterator<Item = &'a Candidate> + use<'a, '_> {
        self.fit(among);
        let start = self.points.partition_point(|(point, _)| *point < key);
        let (before, after) = self.points.split_at(start);
        after
            .iter()
            .chain(before)
            .filter_map(move |(_, worker)| among.iter().find(|candidate| candidate.worker == *worker))
    }

    fn fit(&mut self, among: Candidates<'_>) {
        if among.iter().map(|candidate| candidate.worker).eq(self.workers.iter().copied()) {
            return;
        }
        self.workers = among.iter().map(|candidate| candidate.worker).collect();
        self.points.clear();
        for worker in &self.workers {
            let name = BlockHash(u64::from(worker.0));
            let point = |replica: usize| (name.next_text(&(replica as u64).to_le_bytes()).0, *worker);
            self.points.extend((0..self.replicas).map(point));
        }
        self.points.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use warmroute_routing::policy::Occasion;

    use super::super::scene::worker;
    use super::*;

    #[test]
    fn a_worker_that_leaves_moves_only_its_own_keys() {
        let all = [worker(0), worker(1), worker(2)];
        let among = |list| Candidates::new(list, Occasion::default()).unwrap();
        let mut ring = Ring::new(256);
        let keys: Vec<u64> = (0..1_000).map(|key| BlockHash(key).next_text(b"key").0).collect();
        let mut owners = |list| -> Vec<u32> {
            let owner = |key: &u64| ring.after(*key, among(list)).next().unwrap().worker.0;
            keys.iter().map(owner).collect()
        };
        let (before, after) = (owners(&all), owners(&all[..2]));
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || *before == 2));
        for id in 0..3 {
            let share = before.iter().filter(|owner| **owner == id).count();
            assert!(share.abs_diff(333) < 70, "worker {id} owns {share} keys of 1,000");
        }
    }
}
