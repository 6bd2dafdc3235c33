//! Finds a request its place: at once if a worker has room, else in the queue, and again if the worker had none after all.
//!
//! Where it goes is decided when there is room and not at arrival: caches and queues have changed while it waited.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use tokio::time::Instant;
use warmroute_openai::ApiError;
use warmroute_routing::{Decision, NoWorker};

use super::Gateway;
use super::exchange::Exchange;
use super::forward::{Answer, Outgoing, Target};
use super::look::Look;
use super::refusal::Refusal;
use crate::core::Booking;
use crate::lanes;
use crate::queue::{Asker, Bounds, Priority};
use crate::sources::catalogue::Among;
use crate::spans::Timing;

/// How urgent a request is: a whole number, higher first, from -4 to 4.
const PRIORITY: HeaderName = HeaderName::from_static("x-warmroute-priority");

/// A request is sent to the end of the queue so often because a worker that seemed to have room had none.
const MOST_DISPLACED: usize = 3;

/// A request whose body was looked at.
pub(super) struct Pending<'a> {
    pub look: &'a Look<'a>,
    pub outgoing: Outgoing,
    pub work_began: Instant,
}

impl Gateway {
    /// The beginning of some worker's answer.
    pub(super) async fn send(
        &self,
        pending: Pending<'_>,
        exchange: &mut Exchange,
    ) -> Result<Answer, Refusal> {
        let mut target = self.settle(&pending, exchange).await?;
        lanes::abreast().await;
        for _ in 0..MOST_DISPLACED {
            let answer = self.forward(&pending.outgoing, target, exchange).await?;
            if !(answer.says_full() && self.may_retry()) {
                return Ok(answer);
            }
            exchange.displaced();
            let (decision, booking) = self.decide(&pending, exchange).await?;
            if exchange.has_tried(decision.worker) && self.core.in_flight_at(decision.worker) <= 1 {
                // It refuses though it has nothing to do: that is not for want of room, and the client is to hear it.
                return Ok(answer);
            }
            target = self.place((decision, booking), pending.look, exchange)?;
        }
        self.forward(&pending.outgoing, target, exchange).await
    }

    /// Its place, as soon as some worker has room.
    pub(super) async fn settle(
        &self,
        pending: &Pending<'_>,
        exchange: &mut Exchange,
    ) -> Result<Target, Refusal> {
        let (decision, booking) = self.decide(pending, exchange).await?;
        self.place((decision, booking), pending.look, exchange)
    }

    /// Where it goes, as soon as some worker has room.
    async fn decide(
        &self,
        pending: &Pending<'_>,
        exchange: &mut Exchange,
    ) -> Result<(Decision, Booking), Refusal> {
        let timing = exchange.trace.is_some().then(Timing::begin);
        let found = self.find(pending, exchange, timing.as_ref()).await?;
        if let (Some(timing), Some(trace)) = (&timing, &mut exchange.trace) {
            trace.placed(timing, &found.0);
        }
        Ok(found)
    }

    async fn find(
        &self,
        pending: &Pending<'_>,
        exchange: &Exchange,
        timing: Option<&Timing>,
    ) -> Result<(Decision, Booking), Refusal> {
        let (look, mut among) = (pending.look, &pending.outgoing.among);
        let decide = |among: &Among| {
            timing.inspect(|timing| timing.looks());
            self.core.route(&look.request(among.as_deref(), &|| look.text()), pending.work_began)
        };
        let now;
        // Nobody overtakes those who wait.
        if self.core.queues.waiting_for(among) == 0 {
            let mut decided = decide(among);
            if let (Err(NoWorker::Unreachable | NoWorker::Draining), Some(_)) = (&decided, among) {
                // All that could take it when it came have left since, and others may have come.
                now = self.among_now(look.model());
                among = &now;
                decided = decide(among);
            }
            match decided {
                Err(NoWorker::Full) => {}
                decided => return Ok(decided?),
            }
        }
        timing.inspect(|timing| timing.waits());
        let config = &exchange.config;
        let bounds = Bounds { requests: config.queue_limit, time: config.queue_timeout_ms.duration() };
        let asker = Asker {
            priority: priority(&pending.outgoing.headers, &pending.outgoing.body),
            key: exchange.key(),
        };
        Ok(Box::pin(self.core.in_turn(among, (asker, bounds), || decide(among))).await?)
    }

    fn place(
        &self,
        (mut decision, booking): (Decision, Booking),
        look: &Look<'_>,
        exchange: &mut Exchange,
    ) -> Result<Target, Refusal> {
        // It is on the list for as long as something is booked on it.
        let worker = self.fleet.worker(decision.worker).ok_or_else(ApiError::no_worker)?;
        let fallbacks = std::mem::take(&mut decision.fallbacks);
        exchange.departure = decision.told.map(|standing| worker.departs(standing));
        exchange.late = worker.is_late();
        exchange.place(decision, booking, Arc::clone(&worker));
        exchange.rehearsed = worker.rehearse(&look.request(None, &|| look.text()));
        Ok(Target { worker, fallbacks })
    }
}

/// What the header says, else what OpenAI's field for it does. Read only where it matters, since it costs a look at the whole body.
fn priority(headers: &HeaderMap, body: &[u8]) -> Priority {
    #[derive(Deserialize)]
    struct Tier {
        service_tier: Option<String>,
    }
    if let Some(level) = headers.get(PRIORITY).and_then(|value| value.to_str().ok()?.parse().ok()) {
        return Priority::new(level);
    }
    let tier = serde_json::from_slice(body).ok().and_then(|Tier { service_tier }| service_tier);
    Priority::new(match tier.as_deref() {
        Some("priority") => 2,
        Some("flex" | "batch") => -2,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_header_counts_more_than_the_tier_and_both_more_than_nothing() {
        let with = |level: &'static str| HeaderMap::from_iter([(PRIORITY, HeaderValue::from_static(level))]);
        let flex = br#"{"model": "m", "service_tier": "flex", "messages": []}"#;
        assert_eq!(priority(&with("3"), flex), Priority::new(3));
        assert_eq!(priority(&with("99"), flex), Priority::new(4));
        assert_eq!(priority(&with("soon"), flex), Priority::new(-2));
        assert_eq!(priority(&HeaderMap::new(), br#"{"service_tier": "priority"}"#), Priority::new(2));
        for body in [&b"{}"[..], br#"{"service_tier": null}"#, br#"{"service_tier": 3}"#, b"{"] {
            assert_eq!(priority(&HeaderMap::new(), body), Priority::default());
        }
    }
}
