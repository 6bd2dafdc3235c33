//! Health: one checker task per worker probes it, takes it out when it fails and brings it back when it recovers.
//!
//! Two senses. *Active*: `GET /health` on an interval; a refused connection takes a worker out at once, since nothing listens
//! there, slow and failing answers only after several in a row. *Passive*: a request that could not connect casts doubt, and the
//! checker takes the worker out without waiting for its next probe. A worker that comes back is announced as joined anew and
//! so starts cold in the router: it may have restarted, and believing in a cache that is gone costs more than relearning one.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Limited};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use warmroute_routing::{Event, Publishes, WorkerSpec};

use super::describe::Description;
use super::kv_events::listen;
use super::worker::Health;
use super::{Fleet, Worker};
use crate::config::{GatewayConfig, Live};
use crate::core::Core;
use crate::upstream::{Incoming, Upstream, UpstreamError};

/// What one probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// It answered 2xx in time.
    Healthy,
    /// It answered something else.
    Unhealthy,
    /// It did not answer in time.
    Silent,
    /// Nothing answers at its address.
    Unreachable,
}

/// When findings change a worker's health; pure, so that its rules can be read and tested alone.
struct Verdict {
    health: Health,
    /// Findings in a row that speak against the present health.
    against: u32,
}

impl Verdict {
    fn new() -> Self {
        Self { health: Health::Unknown, against: 0 }
    }

    /// The health after one more finding.
    fn record(&mut self, finding: Finding, config: &GatewayConfig) -> Health {
        let found = if finding == Finding::Healthy { Health::Up } else { Health::Down };
        self.against = if found == self.health { 0 } else { self.against + 1 };
        let needed = match (self.health, finding) {
            (Health::Unknown, _) | (_, Finding::Unreachable) => 1,
            (_, Finding::Healthy) => config.healthy_after,
            (_, Finding::Unhealthy | Finding::Silent) => config.unhealthy_after,
        };
        if self.against >= needed {
            self.health = found;
            self.against = 0;
        }
        self.health
    }
}

/// What the checkers of all workers share.
pub(crate) struct Checker {
    pub fleet: Arc<Fleet>,
    pub core: Arc<Core>,
    pub upstream: Upstream,
    pub config: Arc<Live>,
}

/// A worker's `/metrics` is the largest answer read here; vLLM's has about 200 kB.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// How soon another number of seats in the settings is in force, and how often one that was learned grows.
const SEATS_INTERVAL: Duration = Duration::from_secs(1);

/// Probing without a pause would be an attack.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

impl Checker {
    /// Checks one worker until it has been told to leave and its last request has ended, and then removes it. Dropping the future leaves
    /// the worker in its last state.
    pub(crate) async fn accompany(&self, worker: &Worker) {
        let gone = async {
            worker.leaving.cancelled().await;
            self.core.idle(worker.id).await;
        };
        tokio::select! {
            () = gone => {}
            () = self.watch(worker) => {}
            () = self.mend_circuit(worker) => {}
            () = self.keep_seats(worker) => {}
            () = listen(worker, &self.core, &self.config) => {}
        }
        self.core.observe(Event::Left { worker: worker.id });
        self.fleet.dismiss(worker.id);
        self.fleet.forget(&self.core.metrics, worker);
        tracing::info!(worker = %worker.name, id = worker.id.0, "worker is removed");
    }

    /// Keeps the worker's seats up to date, for as long as it is polled.
    async fn keep_seats(&self, worker: &Worker) {
        loop {
            worker.renew_seats(&self.core, self.config.now().max_in_flight.0.map(NonZeroU32::get));
            sleep(SEATS_INTERVAL).await;
        }
    }

    /// Checks one worker for as long as it is polled.
    async fn watch(&self, worker: &Worker) {
        let mut verdict = Verdict::new();
        let mut next = Instant::now();
        loop {
            let probe = async {
                sleep_until(next).await;
                self.probe(worker).await
            };
            // Doubt cuts a probe short: a request has just found out what the probe is still waiting for.
            let finding = tokio::select! {
                biased;
                () = worker.doubted.notified(), if verdict.health == Health::Up => Finding::Unreachable,
                finding = probe => finding,
            };
            let config = self.config.now();
            next = Instant::now() + config.probe_interval_ms.duration().max(SHORTEST_PAUSE);
            let before = verdict.health;
            match verdict.record(finding, &config) {
                after if after == before => {}
                Health::Up => self.join(worker).await,
                _ => {
                    self.leave(worker, before);
                    if finding == Finding::Silent {
                        worker.silence();
                    }
                }
            }
        }
    }

    async fn probe(&self, worker: &Worker) -> Finding {
        let answer = async {
            match self.get(worker, "/health").await {
                // Read to the end, or the connection could not be used again and every probe would open one.
                Ok(response) if response.status().is_success() => match read(response).await {
                    Some(_) => Finding::Healthy,
                    None => Finding::Unhealthy,
                },
                Err(error) if error.nobody_there() => Finding::Unreachable,
                Ok(_) | Err(_) => Finding::Unhealthy,
            }
        };
        timeout(self.config.now().probe_timeout_ms.duration(), answer).await.unwrap_or(Finding::Silent)
    }

    async fn join(&self, worker: &Worker) {
        // Doubt from before this good news is stale; left in place it would take the worker out again at once.
        let _ = worker.doubted.notified().now_or_never();
        let (metrics, models) =
            tokio::join!(self.fetch(worker, "/metrics"), self.fetch(worker, "/v1/models"));
        let description = Description::read(metrics.as_ref(), models.as_ref());
        let capacity = description.capacity;
        self.fleet.described(worker, description);
        let spec = WorkerSpec { capacity, publishes: Publishes::Nothing };
        worker.renew_seats(&self.core, self.config.now().max_in_flight.0.map(NonZeroU32::get));
        worker.rejoin(&self.core, Event::Joined { worker: worker.id, spec });
        // Looked at after the join: whoever drains it sets the flag first and then tells the router, so one of us comes last.
        if worker.draining() {
            self.core.observe(Event::Drained { worker: worker.id });
        }
        self.set_health(worker, Health::Up);
        tracing::info!(worker = %worker.name, capacity_tokens = ?capacity.map(|tokens| tokens.0), "worker is up");
    }

    fn leave(&self, worker: &Worker, before: Health) {
        if before == Health::Up {
            self.core.observe(Event::Left { worker: worker.id });
        }
        self.set_health(worker, Health::Down);
        tracing::warn!(worker = %worker.name, "worker is down");
    }

    fn set_health(&self, worker: &Worker, health: Health) {
        worker.set_health(health);
        self.fleet.changed();
    }

    async fn get(&self, worker: &Worker, path: &'static str) -> Result<Response<Incoming>, UpstreamError> {
        let headers = HeaderMap::new();
        self.upstream.get(&worker.url, path, &worker.authorized(&headers)).await
    }

    /// A GET's whole body, or nothing if the worker has no such path or takes too long.
    async fn fetch(&self, worker: &Worker, path: &'static str) -> Option<Bytes> {
        let whole = async {
            let response = self.get(worker, path).await.ok()?;
            let found = response.status().is_success();
            read(response).await.filter(|_| found)
        };
        timeout(self.config.now().probe_timeout_ms.duration(), whole).await.ok().flatten()
    }
}

/// The whole body, unless it is cut or absurdly long.
pub(super) async fn read(response: Response<Incoming>) -> Option<Bytes> {
    Some(Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.ok()?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(findings: &[Finding]) -> Vec<Health> {
        let config = GatewayConfig { unhealthy_after: 3, healthy_after: 2, ..GatewayConfig::default() };
        let mut verdict = Verdict::new();
        findings.iter().map(|&finding| verdict.record(finding, &config)).collect()
    }

    #[test]
    fn the_first_probe_decides_alone() {
        assert_eq!(verdicts(&[Finding::Healthy]), [Health::Up]);
        assert_eq!(verdicts(&[Finding::Unhealthy]), [Health::Down]);
    }

    #[test]
    fn slow_answers_take_a_worker_out_only_in_a_row() {
        use Finding::{Healthy as H, Unhealthy as U};
        let states = verdicts(&[H, U, U, H, U, U, U]);
        assert_eq!(states[5], Health::Up, "a good probe in between starts the count anew");
        assert_eq!(states[6], Health::Down);
    }

    #[test]
    fn a_refused_connection_takes_a_worker_out_at_once_and_two_good_probes_bring_it_back() {
        use Finding::{Healthy as H, Unreachable as R};
        use Health::{Down, Up};
        assert_eq!(verdicts(&[H, R, H, R, H, H]), [Up, Down, Down, Down, Down, Up]);
    }
}
