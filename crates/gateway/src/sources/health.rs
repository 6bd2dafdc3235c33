//! Health: one checker task per worker probes it, takes it out when it fails and brings it back when it recovers.
//!
//! Two senses. *Active*: `GET /health` on an interval; a refused connection takes a worker out at once, since nothing listens
//! there, slow and failing answers only after several in a row. *Passive*: a request that could not connect casts doubt, and the
//! checker takes the worker out without waiting for its next probe. A worker that comes back is announced as joined anew and
//! so starts cold in the router: it may have restarted, and believing in a cache that is gone costs more than relearning one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::Response;
use http_body_util::{BodyExt, Limited};
use tokio::time::{MissedTickBehavior, interval, timeout};
use warmroute_routing::{Event, Publishes, WorkerSpec};

use super::describe::Description;
use super::{Fleet, State, Worker};
use crate::config::GatewayConfig;
use crate::core::Core;
use crate::upstream::{Incoming, Upstream};

/// What one probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// It answered 2xx in time.
    Healthy,
    /// It answered something else, or not in time.
    Unhealthy,
    /// Nothing answers at its address.
    Unreachable,
}

/// When findings change a worker's state; pure, so that its rules can be read and tested alone.
struct Verdict {
    state: State,
    /// Findings in a row that speak against the present state.
    against: u32,
    unhealthy_after: u32,
    healthy_after: u32,
}

impl Verdict {
    fn new(config: &GatewayConfig) -> Self {
        let (unhealthy_after, healthy_after) = (config.unhealthy_after, config.healthy_after);
        Self { state: State::Unknown, against: 0, unhealthy_after, healthy_after }
    }

    /// The state after one more finding.
    fn record(&mut self, finding: Finding) -> State {
        let found = if finding == Finding::Healthy { State::Up } else { State::Down };
        self.against = if found == self.state { 0 } else { self.against + 1 };
        let needed = match (self.state, finding) {
            (State::Unknown, _) | (_, Finding::Unreachable) => 1,
            (_, Finding::Healthy) => self.healthy_after,
            (_, Finding::Unhealthy) => self.unhealthy_after,
        };
        if self.against >= needed {
            self.state = found;
            self.against = 0;
        }
        self.state
    }
}

/// What the checkers of all workers share.
pub(crate) struct Checkers {
    pub fleet: Arc<Fleet>,
    pub core: Arc<Core>,
    pub upstream: Upstream,
    pub config: Arc<GatewayConfig>,
}

/// A worker's `/metrics` is the largest answer read here; vLLM's has about 200 kB.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

impl Checkers {
    /// Checks one worker for as long as it is polled. Dropping it leaves the worker in its last state.
    pub(crate) async fn watch(&self, worker: &Worker) {
        let mut verdict = Verdict::new(&self.config);
        let mut ticks = interval(self.config.probe_interval_ms.duration().max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let probe = async {
                ticks.tick().await;
                self.probe(worker).await
            };
            // Doubt cuts a probe short: a request has just found out what the probe is still waiting for.
            let finding = tokio::select! {
                biased;
                () = worker.doubted.notified(), if verdict.state == State::Up => Finding::Unreachable,
                finding = probe => finding,
            };
            let before = verdict.state;
            match verdict.record(finding) {
                after if after == before => {}
                State::Up => self.join(worker).await,
                _ => self.leave(worker, before),
            }
        }
    }

    async fn probe(&self, worker: &Worker) -> Finding {
        let answer = async {
            match self.upstream.get(worker.authority(), "/health").await {
                // Read to the end, or the connection could not be used again and every probe would open one.
                Ok(response) if response.status().is_success() => match read(response).await {
                    Some(_) => Finding::Healthy,
                    None => Finding::Unhealthy,
                },
                Err(error) if error.nobody_there() => Finding::Unreachable,
                Ok(_) | Err(_) => Finding::Unhealthy,
            }
        };
        timeout(self.config.probe_timeout_ms.duration(), answer).await.unwrap_or(Finding::Unhealthy)
    }

    async fn join(&self, worker: &Worker) {
        // Doubt from before this good news is stale; left in place it would take the worker out again at once.
        let _ = worker.doubted.notified().now_or_never();
        let (metrics, models) =
            tokio::join!(self.fetch(worker, "/metrics"), self.fetch(worker, "/v1/models"));
        let description = Description::read(metrics.as_ref(), models.as_ref());
        let capacity = description.capacity;
        *worker.description.lock() = Arc::new(description);
        let spec = WorkerSpec { capacity, publishes: Publishes::Nothing };
        self.core.observe(Event::Joined { worker: worker.id, spec });
        self.fleet.set_state(worker, State::Up);
        tracing::info!(worker = %worker.name, capacity_tokens = ?capacity.map(|tokens| tokens.0), "worker is up");
    }

    fn leave(&self, worker: &Worker, before: State) {
        if before == State::Up {
            self.core.observe(Event::Left { worker: worker.id });
        }
        self.fleet.set_state(worker, State::Down);
        tracing::warn!(worker = %worker.name, "worker is down");
    }

    /// A GET's whole body, or nothing if the worker has no such path or takes too long.
    async fn fetch(&self, worker: &Worker, path: &'static str) -> Option<Bytes> {
        let whole = async {
            let response = self.upstream.get(worker.authority(), path).await.ok()?;
            let found = response.status().is_success();
            read(response).await.filter(|_| found)
        };
        timeout(self.config.probe_timeout_ms.duration(), whole).await.ok().flatten()
    }
}

/// The whole body, unless it is cut or absurdly long.
async fn read(response: Response<Incoming>) -> Option<Bytes> {
    Some(Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.ok()?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(findings: &[Finding]) -> Vec<State> {
        let config = GatewayConfig { unhealthy_after: 3, healthy_after: 2, ..GatewayConfig::default() };
        let mut verdict = Verdict::new(&config);
        findings.iter().map(|&finding| verdict.record(finding)).collect()
    }

    #[test]
    fn the_first_probe_decides_alone() {
        assert_eq!(verdicts(&[Finding::Healthy]), [State::Up]);
        assert_eq!(verdicts(&[Finding::Unhealthy]), [State::Down]);
    }

    #[test]
    fn slow_answers_take_a_worker_out_only_in_a_row() {
        use Finding::{Healthy as H, Unhealthy as U};
        let states = verdicts(&[H, U, U, H, U, U, U]);
        assert_eq!(states[5], State::Up, "a good probe in between starts the count anew");
        assert_eq!(states[6], State::Down);
    }

    #[test]
    fn a_refused_connection_takes_a_worker_out_at_once_and_two_good_probes_bring_it_back() {
        use Finding::{Healthy as H, Unreachable as R};
        use State::{Down, Up};
        assert_eq!(verdicts(&[H, R, H, R, H, H]), [Up, Down, Down, Down, Down, Up]);
    }
}
