//! The workers: who takes requests, and what each has to do.

mod backlog;
mod changes;
mod decay;
mod footing;
mod pace;
mod worker;

use warmroute_kv::Tokens;

pub(crate) use self::backlog::{Backlog, Front, Left, Unread};
pub(crate) use self::changes::Changes;
pub(crate) use self::decay::Decay;
pub(crate) use self::footing::Footing;
pub(crate) use self::pace::{Pace, Slowness, Work};
pub use self::worker::WorkerView;
pub(crate) use self::worker::{State, Worker};
use crate::event::{Elsewhere, Publishes, WorkerSpec};
use crate::request::{Standing, WorkerId};
use crate::time::Time;

/// The fleet. A vector, since every decision walks over all of it and workers seldom come and go.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// In order of their ids.
    workers: Vec<(WorkerId, Worker)>,
    /// What `Worker::recent` is measured by.
    decay: Decay,
    /// What it said last, and when: a decision asks twice.
    weighed: Option<(Time, f64)>,
    /// Tokens, the sum of what is counted of each worker.
    capacity: u64,
    /// Whose accounts may have changed, for whoever keeps something made of them.
    pub(crate) changes: Changes,
}

impl Fleet {
    /// A worker is (back) up, with an empty cache. What is booked on it stays booked.
    pub(crate) fn join(&mut self, id: WorkerId, spec: WorkerSpec) {
        self.changes.regroup();
        let place = self.place(id).unwrap_or_else(|place| {
            self.workers.insert(place, (id, Worker { place: id.0, ..Worker::new(spec) }));
            place
        });
        let worker = &mut self.workers[place].1;
        worker.state = State::Up;
        worker.suspected = false;
        worker.hear(spec);
    }

    /// Somebody else speaks for a worker's cache, of which nothing is known yet; false if it is no other than before.
    pub(crate) fn told(&mut self, id: WorkerId, publishes: Publishes) -> bool {
        let other = |worker: &&mut Worker| worker.state != State::Gone && worker.spec.publishes != publishes;
        let Some(worker) = self.get_mut(id).filter(other) else { return false };
        worker.hear(WorkerSpec { publishes, ..worker.spec });
        self.changes.regroup();
        true
    }

    /// One more decision believes what this worker told.
    pub(crate) fn counts_on(&mut self, id: WorkerId) -> Option<Standing> {
        let worker = self.get_mut(id)?;
        worker.counted_on += 1;
        Some(Standing { nth: worker.counted_on - 1, heard: worker.heard })
    }

    /// A worker that speaks for its own cache was heard up to this message.
    pub(crate) fn heard(&mut self, id: WorkerId, messages: Option<u64>) {
        if let Some(worker) = self.get_mut(id).filter(|worker| worker.shadow.is_none()) {
            worker.heard = messages;
        }
    }

    pub(crate) fn leave(&mut self, id: WorkerId) {
        if let Some(worker) = self.get_mut(id) {
            worker.state = State::Gone;
            worker.shadow = None;
            worker.slot = None;
            worker.elsewhere = Elsewhere::default();
            self.changes.regroup();
            self.bury(id);
        }
    }

    pub(crate) fn drain(&mut self, id: WorkerId) {
        if let Some(worker) = self.get_mut(id).filter(|worker| worker.state == State::Up) {
            worker.state = State::Draining;
            self.changes.regroup();
        }
    }

    pub(crate) fn resume(&mut self, id: WorkerId) {
        if let Some(worker) = self.get_mut(id).filter(|worker| worker.state == State::Draining) {
            worker.state = State::Up;
            self.changes.regroup();
        }
    }

    /// A worker fails lately, or does so no more.
    pub(crate) fn suspect(&mut self, id: WorkerId, suspected: bool) {
        if let Some(worker) = self.get_mut(id).filter(|worker| worker.suspected != suspected) {
            worker.suspected = suspected;
            self.changes.regroup();
        }
    }

    /// A worker takes so many requests at once.
    pub(crate) fn seat(&mut self, id: WorkerId, seats: Option<u32>) {
        if let Some(worker) = self.get_mut(id) {
            worker.seats = seats;
            self.changes.regroup();
        }
    }

    /// A worker has this place among all, whatever its number is.
    pub(crate) fn stand(&mut self, id: WorkerId, place: u32) {
        if let Some(worker) = self.get_mut(id) {
            worker.place = place;
        }
    }

    /// A worker's requests have changed in number: if it was the one that made it full, or no longer full, others are candidates now.
    pub(crate) fn reseated(&mut self, had_room: bool, id: WorkerId) {
        if self.get(id).is_some_and(|worker| worker.has_room() != had_room) {
            self.changes.regroup();
        }
    }

    /// Drops the account of a worker that is gone and has nothing booked.
    pub(crate) fn bury(&mut self, id: WorkerId) {
        let Ok(place) = self.place(id) else { return };
        let worker = &self.workers[place].1;
        if worker.state == State::Gone && worker.in_flight == 0 {
            self.capacity -= u64::from(worker.counted.0);
            self.workers.remove(place);
            self.changes.regroup();
        }
    }

    pub(crate) fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.place(id).ok().map(|place| &self.workers[place].1)
    }

    /// Opens an account for writing.
    pub(crate) fn get_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        let place = self.place(id).ok()?;
        self.changes.write(place);
        Some(&mut self.workers[place].1)
    }

    /// How many accounts there are.
    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// The worker at this place of the list.
    pub(crate) fn nth(&self, place: usize) -> Option<(WorkerId, &Worker)> {
        self.workers.get(place).map(|(id, worker)| (*id, worker))
    }

    /// Where a worker is, or would be. Drivers number workers from zero, so it mostly is where its number says.
    fn place(&self, id: WorkerId) -> Result<usize, usize> {
        let likely = id.0 as usize;
        if self.workers.get(likely).is_some_and(|(other, _)| *other == id) {
            return Ok(likely);
        }
        self.workers.binary_search_by_key(&id, |(other, _)| *other)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }

    /// What a token counts in `Worker::recent` if it is given to somebody now.
    pub(crate) fn weight(&mut self, now: Time) -> f64 {
        if let Some((_, weight)) = self.weighed.filter(|(at, _)| *at == now) {
            return weight;
        }
        let faded = self.decay.rebase(now);
        if faded < 1.0 {
            self.workers.iter_mut().for_each(|(_, worker)| worker.recent *= faded);
            self.changes.regroup();
        }
        let weight = self.decay.weight(now);
        self.weighed = Some((now, weight));
        weight
    }

    /// Tokens that the caches of all workers hold, as far as is known.
    pub(crate) fn capacity(&self) -> Tokens {
        Tokens(u32::try_from(self.capacity).unwrap_or(u32::MAX))
    }

    /// Brings the fleet's capacity up to date with the account at this place of the list.
    pub(crate) fn recount(&mut self, place: usize) {
        if let Some((_, worker)) = self.workers.get_mut(place) {
            let capacity = worker.capacity().unwrap_or_default();
            self.capacity = self.capacity + u64::from(capacity.0) - u64::from(worker.counted.0);
            worker.counted = capacity;
        }
    }

    /// The workers that take requests: those that are up and have room. Suspected ones are among them only if all are suspected, since
    /// a worker that probably fails is better than a request that surely does.
    pub(crate) fn up(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        let up = || self.iter().filter(|(_, worker)| worker.state == State::Up);
        let nobody_trusted = up().all(|(_, worker)| worker.suspected);
        up().filter(move |(_, worker)| worker.suspected == nobody_trusted && worker.has_room())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_left_is_forgotten_with_its_last_request() {
        let mut fleet = Fleet::default();
        let id = WorkerId(3);
        fleet.join(id, WorkerSpec { capacity: None, publishes: Publishes::Nothing });
        fleet.get_mut(id).unwrap().in_flight = 1;
        fleet.leave(id);
        assert_eq!(fleet.up().count(), 0);
        assert!(fleet.get(id).is_some(), "its request is still counted");
        fleet.get_mut(id).unwrap().in_flight = 0;
        fleet.bury(id);
        assert!(fleet.get(id).is_none());
    }

    fn joined(count: u32) -> Fleet {
        let mut fleet = Fleet::default();
        let spec = WorkerSpec { capacity: None, publishes: Publishes::Nothing };
        (0..count).for_each(|id| fleet.join(WorkerId(id), spec));
        fleet
    }

    fn up(fleet: &Fleet) -> Vec<u32> {
        fleet.up().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn a_suspected_worker_is_asked_only_where_all_are_suspected() {
        let mut fleet = joined(2);
        fleet.suspect(WorkerId(0), true);
        assert_eq!(up(&fleet), [1]);
        fleet.suspect(WorkerId(1), true);
        assert_eq!(up(&fleet), [0, 1]);
        fleet.suspect(WorkerId(0), false);
        assert_eq!(up(&fleet), [0]);
        fleet.join(WorkerId(1), WorkerSpec { capacity: None, publishes: Publishes::Nothing });
        assert_eq!(up(&fleet), [0, 1], "one that has restarted is not to blame for what was before");
    }

    #[test]
    fn a_full_worker_is_not_asked_and_a_suspected_one_does_not_stand_in_for_it() {
        let mut fleet = joined(2);
        fleet.seat(WorkerId(0), Some(1));
        assert_eq!(up(&fleet), [0, 1]);
        fleet.get_mut(WorkerId(0)).unwrap().in_flight = 1;
        assert_eq!(up(&fleet), [1]);
        fleet.suspect(WorkerId(1), true);
        assert_eq!(up(&fleet), [0; 0], "it is better to wait for one that works");
        fleet.seat(WorkerId(0), None);
        assert_eq!(up(&fleet), [0]);
    }

    #[test]
    fn a_drained_worker_takes_nothing_until_it_is_resumed_and_one_that_is_gone_is_not_brought_back() {
        let mut fleet = Fleet::default();
        let id = WorkerId(0);
        fleet.join(id, WorkerSpec { capacity: None, publishes: Publishes::Nothing });
        fleet.drain(id);
        assert_eq!(fleet.up().count(), 0);
        fleet.resume(id);
        assert_eq!(fleet.up().count(), 1);
        fleet.get_mut(id).unwrap().in_flight = 1;
        fleet.leave(id);
        fleet.resume(id);
        assert_eq!(fleet.up().count(), 0);
    }
}
