//! The workers: who takes requests, and what each has to do.

mod backlog;
mod footing;
mod pace;

use std::collections::BTreeMap;
use std::time::Duration;

use warmroute_kv::Tokens;

pub(crate) use self::backlog::{Backlog, Unread};
pub(crate) use self::footing::Footing;
pub(crate) use self::pace::{Pace, Slowness, Work};
use crate::booking::Booking;
use crate::event::{Elsewhere, Publishes, WorkerSpec};
use crate::request::{BookingId, WorkerId};
use crate::shadow::Shadow;
use crate::time::Time;

/// Work done longer ago than this counts half. Long enough to tell who has been busy between two turns of a
/// conversation, short enough to forget a rush before the next.
const HALF_LIFE: Duration = Duration::from_secs(60);

/// Of the time that a first token takes whatever its prompt, so much is the prompt's own step; the rest is the wait for the step
/// under way, which a prompt behind it does not wait for again.
const FIXED_SHARE: f64 = 2.0 / 3.0;

/// Whether a worker takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    Draining,
    /// Not reachable; kept only while requests are booked on it.
    Gone,
}

/// One worker's account.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) spec: WorkerSpec,
    pub(crate) state: State,
    pub(crate) in_flight: u32,
    /// Prompts that it has not read yet.
    pub(crate) backlog: Backlog,
    /// What its requests in flight need of its cache.
    pub(crate) footing: Footing,
    /// What other gateways have under way on it, as last heard.
    pub(crate) elsewhere: Elsewhere,
    /// How much slower it reads than the fleet.
    pub(crate) slowness: Slowness,
    /// Uncached prompt tokens given to it lately.
    pub(crate) recent: Decayed,
    /// Uncached prompt tokens given to it since its cache was last empty.
    pub(crate) given: f64,
    /// The number of the decision that chose it last; 0 if none did.
    pub(crate) last_chosen: u64,
    pub(crate) shadow: Option<Shadow>,
    /// Prompt tokens believed cached, of the requests that reported what really was.
    pub(crate) predicted: u64,
    /// Prompt tokens reported cached.
    pub(crate) reported: u64,
}

impl Worker {
    fn new(spec: WorkerSpec) -> Self {
        Self {
            spec,
            state: State::Up,
            in_flight: 0,
            backlog: Backlog::default(),
            footing: Footing::default(),
            elsewhere: Elsewhere::default(),
            slowness: Slowness::default(),
            recent: Decayed::default(),
            given: 0.0,
            last_chosen: 0,
            shadow: None,
            predicted: 0,
            reported: 0,
        }
    }

    /// Tokens that its cache holds, as far as is known: corrected by what it reports, where it has a shadow.
    pub(crate) fn capacity(&self) -> Option<Tokens> {
        self.shadow.as_ref().map(Shadow::capacity).or(self.spec.capacity)
    }

    /// What a new request's first token would wait for, its own prompt not counted.
    pub(crate) fn ahead(&self, pace: &Pace, now: Time) -> Work {
        let own = self.backlog.remaining(now, pace.token_s() * self.slowness.ratio());
        Work {
            tokens: own + self.elsewhere.queued.as_f64(),
            context: (self.footing.context() + self.elsewhere.context).as_f64(),
        }
    }

    /// Takes the work of a request.
    pub(crate) fn book(&mut self, id: BookingId, booking: &Booking, pace: &Pace, now: Time) {
        let uncached = booking.uncached();
        let alone = Work { tokens: uncached.as_f64(), context: booking.work.context };
        let own_s = pace.token_s() * uncached.as_f64();
        let takes_s = (own_s + FIXED_SHARE * (pace.seconds(alone) - own_s)) * self.slowness.ratio();
        self.in_flight += 1;
        self.footing.add(booking);
        self.backlog.push(Unread { booking: id, uncached, takes_s, tells: booking.tells }, now);
        self.recent.add(uncached.as_f64(), now);
        self.given += uncached.as_f64();
    }

    /// Gives up the work of a request, its prompt included if it was still to be read.
    pub(crate) fn unbook(&mut self, id: BookingId, booking: &Booking, now: Time) {
        debug_assert!(self.in_flight > 0, "a booking was released twice");
        self.in_flight = self.in_flight.saturating_sub(1);
        self.footing.remove(booking);
        self.backlog.remove(id, now);
    }
}

/// The fleet, in order of the workers' ids.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
}

impl Fleet {
    /// A worker is (back) up, with an empty cache. What is booked on it stays booked.
    pub(crate) fn join(&mut self, id: WorkerId, spec: WorkerSpec) {
        let worker = self.workers.entry(id).or_insert_with(|| Worker::new(spec));
        worker.spec = spec;
        worker.state = State::Up;
        worker.given = 0.0;
        worker.shadow = (spec.publishes == Publishes::Nothing).then(|| Shadow::new(spec.capacity));
    }

    pub(crate) fn leave(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.state = State::Gone;
            worker.shadow = None;
            worker.elsewhere = Elsewhere::default();
            self.bury(id);
        }
    }

    pub(crate) fn drain(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.state == State::Up) {
            worker.state = State::Draining;
        }
    }

    /// Drops the account of a worker that is gone and has nothing booked.
    pub(crate) fn bury(&mut self, id: WorkerId) {
        let ended = |worker: &Worker| worker.state == State::Gone && worker.in_flight == 0;
        if self.workers.get(&id).is_some_and(ended) {
            self.workers.remove(&id);
        }
    }

    pub(crate) fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }

    /// Tokens that the caches of all workers hold, as far as is known.
    pub(crate) fn capacity(&self) -> Tokens {
        self.workers.values().filter_map(Worker::capacity).sum()
    }

    /// The workers that take requests.
    pub(crate) fn up(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.iter().filter(|(_, worker)| worker.state == State::Up)
    }
}

/// One worker as metrics and dashboards see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerView {
    /// Who.
    pub id: WorkerId,
    /// Whether it takes new requests.
    pub up: bool,
    /// Requests sent and not ended.
    pub in_flight: u32,
    /// Those of them whose first token has not come.
    pub unread: u32,
    /// The uncached prompt tokens of these.
    pub queued: Tokens,
    /// Tokens of KV state that its requests in flight need on average over their time, half of each answer; what several
    /// share counts once.
    pub active: Tokens,
    /// The same, with what they share counted for each.
    pub context: Tokens,
    /// Seconds it takes to read a prompt token, as learned from first tokens.
    pub token_s: f64,
    /// Tokens that its cache is taken to hold, if anything is known: told by the worker, or corrected by what it reports.
    pub capacity: Option<Tokens>,
    /// The share of its cache that is in use, as far as is known.
    pub fill: f64,
    /// Prompt tokens believed cached, of the requests that reported what really was.
    pub predicted_tokens: u64,
    /// Prompt tokens reported cached.
    pub reported_tokens: u64,
}

/// A sum that forgets: what was added a half-life ago counts half.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Decayed {
    sum: f64,
    at: Time,
}

impl Decayed {
    pub(crate) fn add(&mut self, amount: f64, now: Time) {
        self.sum = self.at(now) + amount;
        self.at = now;
    }

    pub(crate) fn at(&self, now: Time) -> f64 {
        self.sum * (-now.since(self.at).div_duration_f64(HALF_LIFE)).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_a_half_life_ago_counts_half() {
        let mut recent = Decayed::default();
        recent.add(100.0, Time::ZERO);
        recent.add(10.0, Time::ZERO + HALF_LIFE);
        assert!((recent.at(Time::ZERO + HALF_LIFE * 2) - 30.0).abs() < 1e-9);
    }

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
}
