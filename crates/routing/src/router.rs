//! The router itself: keeps the books, asks the policy, tells the shadows.
//!
//! Both drivers make these calls and no others. Nothing here waits, logs or looks at a clock.

use warmroute_kv::{KvEvent, KvEvents, Tokens};

use crate::booking::{Booking, Bookings};
use crate::chance::Chance;
use crate::event::{Event, Usage};
use crate::fleet::{Fleet, State, Worker, WorkerView};
use crate::index::{Index, Leading};
use crate::policy::{Candidate, Candidates, Choice, Policy, PolicyConfig};
use crate::request::{BookingId, Decision, NoWorker, Reason, Request, WorkerId};
use crate::scale::Scale;
use crate::time::Time;

/// How to route.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The rule that chooses.
    pub policy: PolicyConfig,
    /// Where chance begins.
    pub seed: u64,
}

/// Sends requests to workers. See the crate's documentation.
pub struct Router {
    policy: Box<dyn Policy>,
    policy_name: &'static str,
    chance: Chance,
    fleet: Fleet,
    bookings: Bookings,
    index: Index,
    scale: Scale,
    decisions: u64,
    /// Emptied after every use; kept for its memory.
    events: KvEvents,
}

impl Router {
    /// A router with no workers yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            policy: settings.policy.build(),
            policy_name: settings.policy.name(),
            chance: Chance::new(settings.seed),
            fleet: Fleet::default(),
            bookings: Bookings::default(),
            index: Index::default(),
            scale: Scale::default(),
            decisions: 0,
            events: KvEvents::new(),
        }
    }

    /// Decides where `request` goes and books its work there, until [`observe`](Self::observe) is told of its end.
    ///
    /// # Errors
    /// If no worker takes requests.
    pub fn route(&mut self, request: &Request<'_>, now: Time) -> Result<Decision, NoWorker> {
        let candidates = self.candidates(request, now);
        let Choice { worker, reason } = match Candidates::new(&candidates) {
            None => return Err(self.nobody()),
            Some(only) if only.count() == 1 => Choice { worker: only.nth(0).worker, reason: Reason::Only },
            Some(several) => self.policy.choose(request, several, &mut self.chance),
        };
        let chosen = candidates.iter().find(|candidate| candidate.worker == worker);
        let overlap = chosen.expect("a policy chooses one of the candidates").overlap;
        let booking = Booking::new(request, &self.scale, worker, overlap);
        let prompt = booking.prompt;
        self.decisions += 1;
        self.book(&booking, now);
        let booking = self.bookings.open(booking);
        let fallbacks = fallbacks(candidates, worker);
        Ok(Decision { booking, worker, fallbacks, overlap, prompt, reason, policy: self.policy_name })
    }

    /// Takes in what happened. What concerns a worker or booking that is not (or no longer) known changes nothing.
    pub fn observe(&mut self, event: Event, now: Time) {
        match event {
            Event::Joined { worker, spec } => {
                self.index.forget(worker);
                self.fleet.join(worker, spec);
            }
            Event::Left { worker } => {
                self.index.forget(worker);
                self.fleet.leave(worker);
            }
            Event::Drained { worker } => self.fleet.drain(worker),
            Event::Kv { worker, event } => self.tell(worker, &event),
            Event::FirstToken { booking } => self.first_token(booking),
            Event::Moved { booking, to } => self.moved(booking, to, now),
            Event::Finished { booking, usage } => self.finished(booking, usage),
            Event::Aborted { booking } => _ = self.unbook(booking),
        }
    }

    /// Requests that were routed and have not ended.
    pub fn in_flight(&self) -> usize {
        self.bookings.len()
    }

    /// Blocks that at least one worker is believed to hold.
    pub fn indexed_blocks(&self) -> usize {
        self.index.len()
    }

    /// The workers, in order of their ids.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView> {
        self.fleet.iter().map(|(id, worker)| WorkerView {
            id,
            up: worker.state == State::Up,
            in_flight: worker.in_flight,
            queued: worker.queued,
            fill: self.fill(id, worker, None),
            predicted_tokens: worker.predicted,
            reported_tokens: worker.reported,
        })
    }

    fn candidates(&self, request: &Request<'_>, now: Time) -> Vec<Candidate> {
        let mut leading = Leading::default();
        self.index.leading(request.blocks, &mut leading);
        let prompt = self.scale.prompt(request);
        let candidate = |(id, worker): (WorkerId, &Worker)| {
            let overlap = self.scale.blocks(request, leading.depth_of(id)).min(prompt);
            Candidate {
                worker: id,
                overlap,
                uncached: prompt - overlap,
                in_flight: worker.in_flight,
                queued: worker.queued,
                recent: worker.recent.at(now),
                fill: self.fill(id, worker, Some(request)),
                last_chosen: worker.last_chosen,
            }
        };
        self.fleet.up().map(candidate).collect()
    }

    /// The share of a worker's cache in use. Blocks it told of are taken to be as large as the request's.
    fn fill(&self, id: WorkerId, worker: &Worker, like: Option<&Request<'_>>) -> f64 {
        match (&worker.shadow, worker.spec.capacity, like) {
            (Some(shadow), ..) => shadow.fill(),
            (None, Some(capacity), Some(request)) => {
                let held = self.scale.blocks(request, self.index.held_by(id).get());
                (held.as_f64() / capacity.as_f64().max(1.0)).min(1.0)
            }
            // A cache of unknown size is taken for full: a copy there may evict something.
            (None, ..) => 1.0,
        }
    }

    fn nobody(&self) -> NoWorker {
        let draining = self.fleet.iter().any(|(_, worker)| worker.state == State::Draining);
        if draining { NoWorker::Draining } else { NoWorker::Unreachable }
    }

    fn book(&mut self, booking: &Booking, now: Time) {
        let Some(worker) = self.fleet.get_mut(booking.worker) else { return };
        worker.book(booking.uncached(), now);
        worker.last_chosen = self.decisions;
        if let Some(shadow) = &mut worker.shadow {
            shadow.sent(booking.footprint(), &mut self.events);
        }
        self.drain_shadow(booking.worker);
    }

    fn first_token(&mut self, id: BookingId) {
        let Some(booking) = self.bookings.get_mut(id).filter(|booking| booking.waiting) else { return };
        booking.waiting = false;
        let uncached = booking.uncached();
        if let Some(worker) = self.fleet.get_mut(booking.worker) {
            worker.queued -= uncached;
        }
    }

    fn moved(&mut self, id: BookingId, to: WorkerId, now: Time) {
        // A worker that is not known has no account to book on: the work stays where it is until the request ends.
        if self.fleet.get(to).is_none() {
            return;
        }
        let Some(mut booking) = self.bookings.close(id) else { return };
        self.release(&booking);
        let mut leading = Leading::default();
        self.index.leading(booking.footprint().blocks, &mut leading);
        let overlap = Tokens((leading.depth_of(to) as f64 * booking.block_tokens).round() as u32);
        booking.overlap = overlap.min(booking.prompt);
        booking.worker = to;
        booking.waiting = true;
        self.decisions += 1;
        self.book(&booking, now);
        self.bookings.reopen(id, booking);
    }

    fn finished(&mut self, id: BookingId, usage: Option<Usage>) {
        let Some(booking) = self.unbook(id) else { return };
        let Some(usage) = usage else { return };
        if let Some(bytes) = booking.bytes {
            self.scale.learn(bytes, usage.prompt);
        }
        let Some(worker) = self.fleet.get_mut(booking.worker) else { return };
        if let Some(cached) = usage.cached {
            worker.predicted += u64::from(booking.overlap.0);
            worker.reported += u64::from(cached.0);
        }
        if let Some(shadow) = &mut worker.shadow {
            let prompt = booking.footprint();
            let whole = Tokens((prompt.blocks.len() as f64 * prompt.block_tokens) as u32);
            shadow.answered(prompt, usage.prompt - whole + usage.output, id.0, &mut self.events);
        }
        self.drain_shadow(booking.worker);
    }

    /// Ends a booking and frees its work; a second end finds nothing.
    fn unbook(&mut self, id: BookingId) -> Option<Booking> {
        let booking = self.bookings.close(id)?;
        self.release(&booking);
        Some(booking)
    }

    fn release(&mut self, booking: &Booking) {
        let unread = if booking.waiting { booking.uncached() } else { Tokens::ZERO };
        if let Some(worker) = self.fleet.get_mut(booking.worker) {
            worker.unbook(unread);
        }
        self.fleet.bury(booking.worker);
    }

    /// What a shadow did goes the same way as what a worker tells.
    fn drain_shadow(&mut self, worker: WorkerId) {
        for event in self.events.drain(..) {
            self.index.apply(worker, &event);
        }
    }

    fn tell(&mut self, worker: WorkerId, event: &KvEvent) {
        let known = self
            .fleet
            .get(worker)
            .is_some_and(|worker| worker.state != State::Gone && worker.shadow.is_none());
        if known {
            self.index.apply(worker, event);
        }
    }
}

/// Everybody but the chosen one: least work first, then fewest requests, then whoever was chosen longest ago.
fn fallbacks(mut candidates: Vec<Candidate>, chosen: WorkerId) -> Vec<WorkerId> {
    candidates.retain(|candidate| candidate.worker != chosen);
    candidates.sort_by_key(|other| {
        (other.queued + other.uncached, other.in_flight, other.last_chosen, other.worker)
    });
    candidates.into_iter().map(|candidate| candidate.worker).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use warmroute_kv::{BlockHash, KvEvent};

    use super::*;
    use crate::{Publishes, Unit, WorkerSpec};

    const ROOT: BlockHash = BlockHash(0);

    /// A router under the default policy, before workers that hold 4,000 tokens each.
    fn router(workers: u32, publishes: Publishes) -> Router {
        let mut router = Router::new(Settings::default());
        for id in 0..workers {
            router.observe(joined(id, publishes), Time::ZERO);
        }
        router
    }

    fn joined(id: u32, publishes: Publishes) -> Event {
        Event::Joined { worker: WorkerId(id), spec: WorkerSpec { capacity: Some(Tokens(4_000)), publishes } }
    }

    /// Names of `count` blocks that nothing else has in common with.
    fn blocks(first: u64, count: u64) -> Vec<BlockHash> {
        (first * 1_000..first * 1_000 + count).map(BlockHash).collect()
    }

    fn serve(router: &mut Router, prompt: &[BlockHash], now: Time) -> Decision {
        let decision = router.route(&Request::new(ROOT, prompt), now).unwrap();
        router.observe(Event::Finished { booking: decision.booking, usage: None }, now);
        decision
    }

    #[test]
    fn affinity_ends_where_the_queue_costs_more_than_the_saving() {
        let mut router = router(2, Publishes::Nothing);
        let warm = serve(&mut router, &blocks(1, 40), Time::ZERO).worker;
        let mut stayed = 0;
        let reason = loop {
            let decision = router.route(&Request::new(ROOT, &blocks(1, 40)), Time::ZERO).unwrap();
            if decision.worker != warm {
                break decision.reason;
            }
            assert_eq!((decision.overlap, decision.reason), (Tokens(640), Reason::Prefix));
            stayed += 1;
        };
        // The other worker, at first empty, has 640 tokens to read; each waiting request is worth 300.
        assert_eq!(stayed, 3, "after 3 x 300 tokens' worth of requests, reading 640 elsewhere is cheaper");
        assert_eq!(reason, Reason::Spill);
    }

    #[test]
    fn with_nothing_to_reuse_the_choice_is_least_work() {
        let mut router = router(4, Publishes::Nothing);
        let mut chance = Chance::new(9);
        let mut work = [0_usize; 4];
        for number in 0..400 {
            let prompt = blocks(number + 1, 1 + chance.below(100) as u64);
            let decision = router.route(&Request::new(ROOT, &prompt), Time::from_millis(number)).unwrap();
            let chosen = decision.worker.0 as usize;
            assert_eq!(
                work[chosen],
                *work.iter().min().unwrap(),
                "request {number} went past less work: {work:?}"
            );
            assert_eq!(decision.reason, Reason::LeastLoad);
            work[chosen] += prompt.len() * 16 + 300;
        }
    }

    #[test]
    fn a_worker_that_restarted_is_taken_for_cold() {
        for publishes in [Publishes::Nothing, Publishes::Events] {
            let mut router = router(2, publishes);
            let prompt = blocks(1, 10);
            let worker = serve(&mut router, &prompt, Time::ZERO).worker;
            let event = KvEvent::Stored { parent: ROOT, blocks: prompt.clone() };
            router.observe(Event::Kv { worker, event }, Time::ZERO);
            assert_eq!(serve(&mut router, &prompt, Time::ZERO).overlap, Tokens(160));
            router.observe(joined(worker.0, publishes), Time::ZERO);
            assert_eq!(serve(&mut router, &prompt, Time::ZERO).overlap, Tokens(0), "{publishes:?}");
        }
    }

    #[test]
    fn a_worker_that_tells_is_believed_and_one_with_a_shadow_is_not_asked() {
        let mut router = router(2, Publishes::Events);
        router.observe(joined(1, Publishes::Nothing), Time::ZERO);
        for worker in [WorkerId(0), WorkerId(1)] {
            let event = KvEvent::Stored { parent: ROOT, blocks: blocks(u64::from(worker.0) + 1, 4) };
            router.observe(Event::Kv { worker, event }, Time::ZERO);
        }
        assert_eq!(router.indexed_blocks(), 4, "only the first worker speaks for itself");
        assert_eq!(serve(&mut router, &blocks(1, 4), Time::ZERO).overlap, Tokens(64));
        assert_eq!(serve(&mut router, &blocks(2, 4), Time::ZERO).overlap, Tokens(0));
    }

    #[test]
    fn bytes_become_tokens_at_the_rate_that_workers_report() {
        let mut router = router(1, Publishes::Nothing);
        let prompt = blocks(1, 100);
        let request = Request { unit: Unit::Bytes, prompt: 6_400, block: 64, ..Request::new(ROOT, &prompt) };
        assert_eq!(
            router.route(&request, Time::ZERO).unwrap().prompt,
            Tokens(1_600),
            "four bytes a token at first"
        );
        for _ in 0..100 {
            let booking = router.route(&request, Time::ZERO).unwrap().booking;
            let usage = Usage { prompt: Tokens(3_200), cached: Some(Tokens(3_000)), output: Tokens(8) };
            router.observe(Event::Finished { booking, usage: Some(usage) }, Time::ZERO);
        }
        let learned = router.route(&request, Time::ZERO).unwrap().prompt;
        assert!(learned.0.abs_diff(3_200) < 100, "two bytes a token now: {learned}");
        let view = router.workers().next().unwrap();
        assert_eq!(view.reported_tokens, 300_000);
        assert!(view.predicted_tokens > 250_000, "{view:?}");
    }

    #[test]
    fn queued_work_ends_with_the_first_token_and_follows_a_retry() {
        let mut router = router(2, Publishes::Nothing);
        let decision = router.route(&Request::new(ROOT, &blocks(1, 10)), Time::ZERO).unwrap();
        let (booking, to) = (decision.booking, decision.fallbacks[0]);
        let load =
            |router: &Router| router.workers().map(|one| (one.in_flight, one.queued.0)).collect::<Vec<_>>();
        assert_eq!(load(&router), [(1, 160), (0, 0)]);
        router.observe(Event::Moved { booking, to }, Time::ZERO + Duration::from_millis(1));
        assert_eq!(load(&router), [(0, 0), (1, 160)]);
        router.observe(Event::FirstToken { booking }, Time::ZERO);
        assert_eq!(load(&router), [(0, 0), (1, 0)]);
        router.observe(Event::Finished { booking, usage: None }, Time::ZERO);
        assert_eq!(load(&router), [(0, 0), (0, 0)]);
    }
}
