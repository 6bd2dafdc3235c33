//! Keeps the router's trust in a worker in step with the worker's breaker.
//!
//! The breaker decides, the router is told whenever its answer changes, and both happen under the breaker's lock, so that the router
//! always knows what was decided last.

use tokio::time::Instant;
use warmroute_routing::Event;

use super::breaker::{Begun, Breaker, Circuit};
use super::window::{Outcome, Outcomes};
use super::{Fleet, State, Worker};
use crate::core::Core;

/// One request at one worker until its first byte. Dropping it without an outcome says that nobody knows.
pub(crate) struct Attempt<'a> {
    core: &'a Core,
    worker: &'a Worker,
    begun: Begun,
    outcome: Outcome,
}

impl<'a> Attempt<'a> {
    /// A request is sent to `worker`.
    pub(crate) fn begin(core: &'a Core, worker: &'a Worker) -> Self {
        let begun = worker.change_circuit(core, Breaker::begin);
        Self { core, worker, begun, outcome: Outcome::Unknown }
    }

    /// How it went, at one of the workers of `fleet`.
    pub(crate) fn ended(mut self, outcome: Outcome, fleet: &Fleet) {
        let (core, worker) = (self.core, self.worker);
        self.outcome = outcome;
        drop(self);
        if outcome.is_bad() {
            fleet.compare(core, worker);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let (begun, outcome) = (self.begun, self.outcome);
        self.worker.change_circuit(self.core, |breaker| breaker.end(begun, outcome, Instant::now()));
    }
}

impl Fleet {
    /// Holds a worker's latest outcomes against those of all others. One lock is held at a time, and only after a failure.
    fn compare(&self, core: &Core, worker: &Worker) {
        let now = Instant::now();
        let mut others = Outcomes::default();
        for other in self.workers().iter().filter(|other| other.id != worker.id && other.state() == State::Up)
        {
            others += other.breaker.lock().outcomes(now);
        }
        worker.change_circuit(core, |breaker| breaker.compare(others, now));
    }
}

impl Worker {
    /// How its circuit stands.
    pub(crate) fn circuit(&self) -> Circuit {
        self.breaker.lock().circuit()
    }

    /// The worker joins: what it did before is forgotten, as the router forgets it.
    pub(super) fn rejoin(&self, core: &Core, joined: Event) {
        let mut breaker = self.breaker.lock();
        *breaker = Breaker::new(Instant::now());
        // The router may have forgotten it, and with it its seats; no request is to come in between.
        let seats = self.seats.lock().count();
        core.observe_both(joined, Some(Event::Seated { worker: self.id, seats }));
        drop(breaker);
        // Who waits for the end of a pause waits for nothing now.
        self.opened.notify_one();
    }

    pub(super) fn change_circuit<T>(&self, core: &Core, change: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock();
        let (before, spared) = (breaker.circuit(), breaker.spares());
        let made = change(&mut breaker);
        let (after, spares) = (breaker.circuit(), breaker.spares());
        if spares != spared {
            let worker = self.id;
            core.observe(if spares { Event::Suspected { worker } } else { Event::Trusted { worker } });
        }
        drop(breaker);
        if after != before {
            tracing::info!(worker = %self.name, circuit = after.as_str(), "a circuit has changed");
            self.opened.notify_one();
        }
        made
    }
}
