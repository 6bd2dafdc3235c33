//! Keeps the router's trust in a worker in step with the worker's breaker.
//!
//! The breaker decides, the router is told whenever its answer changes, and both happen under the breaker's lock, so that the router
//! always knows what was decided last.

use tokio::time::{Instant, sleep_until};
use warmroute_routing::Event;

use super::Worker;
use super::breaker::{Breaker, Circuit, Outcome, Trial};
use crate::core::Core;

/// One request at one worker until its first byte. Dropping it without an outcome says that nobody knows.
pub(crate) struct Attempt<'a> {
    core: &'a Core,
    worker: &'a Worker,
    trial: Trial,
    outcome: Outcome,
}

impl<'a> Attempt<'a> {
    /// A request is sent to `worker`.
    pub(crate) fn begin(core: &'a Core, worker: &'a Worker) -> Self {
        let trial = worker.change_circuit(core, Breaker::begin);
        Self { core, worker, trial, outcome: Outcome::Unknown }
    }

    /// How it went.
    pub(crate) fn ended(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let (trial, outcome) = (self.trial, self.outcome);
        self.worker.change_circuit(self.core, |breaker| breaker.end(trial, outcome, Instant::now()));
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
    }

    /// Ends the breaker's pauses when their time has come, for as long as it is polled.
    pub(super) async fn mend_circuit(&self, core: &Core) {
        loop {
            let due = self.breaker.lock().due();
            match due {
                Some(due) => sleep_until(due).await,
                None => self.opened.notified().await,
            }
            self.change_circuit(core, |breaker| breaker.tick(Instant::now()));
        }
    }

    fn change_circuit<T>(&self, core: &Core, change: impl FnOnce(&mut Breaker) -> T) -> T {
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
