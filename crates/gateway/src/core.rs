//! The only place where the router's lock, the clock and the metrics meet.
//!
//! The router is a plain state machine; here it gets its turn-taking (one mutex), its time (nanoseconds since start-up) and its
//! audience (metrics). Callers hash prompts before they come here, and nothing under the lock waits, logs or does IO: a decision
//! holds it for microseconds. [`Booking`] makes "released exactly once" a matter of ownership: whoever drops one ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;
use warmroute_kv::KvEvents;
use warmroute_routing::policy::PolicyConfig;
use warmroute_routing::{
    BookingId, Decision, Event, Explanation, NoWorker, Prompt, Request, Router, Settings, Time, Usage,
    WorkerId, WorkerView,
};

use crate::config::GatewayConfig;
use crate::peers::{Outbox, Word};
use crate::queue::{Asker, Bounds, Queues, Turned};
use crate::show::metrics::Metrics;
use crate::sources::catalogue::Among;
use crate::sources::kv_events::pieces;

/// Blocks that are told under one lock: some 400 µs at the rate of docs/kv-events.md.
const MOST_TOLD_BLOCKS: usize = 1024;

/// Router, clock and metrics of one gateway.
pub(crate) struct Core {
    /// Guards the whole routing state; held for one call of the router at a time.
    router: Mutex<Router>,
    started: Instant,
    /// Tells of the end of any request, if somebody waits for one.
    ended: Notify,
    waiting: AtomicUsize,
    /// Those that no worker has room for.
    pub(crate) queues: Queues,
    /// What other gateways are told of decisions.
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) metrics: Metrics,
}

impl Core {
    /// A router without workers, and the clock at zero.
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        let settings = Settings {
            policy: config.policy.clone(),
            seed: config.seed,
            memory_bytes: Some(config.router_bytes),
        };
        Self {
            router: Mutex::new(Router::new(settings)),
            started: Instant::now(),
            ended: Notify::new(),
            waiting: AtomicUsize::new(0),
            queues: Queues::default(),
            outbox: Arc::default(),
            metrics: Metrics::new(),
        }
    }

    /// Decides where a request goes and books it there. `since` is when the gateway began to work on it.
    pub(crate) fn route(
        self: &Arc<Self>,
        request: &Request<'_>,
        since: Instant,
    ) -> Result<(Decision, Booking), NoWorker> {
        let decision = self.router.lock().route(request, self.now())?;
        self.metrics.decided(&decision, since.elapsed());
        // A worker that tells what it holds tells the others as well.
        let told = decision.told.is_none()
            && self.outbox.sent(decision.booking, decision.worker, || Some(Prompt::of(request)));
        let booking = Booking { core: Arc::clone(self), id: decision.booking, open: true, told };
        Ok((decision, booking))
    }

    /// Lets the router write down what its last decision left. To be called when nobody waits for that.
    pub(crate) fn write_up(&self) {
        self.router.lock().write_up();
    }

    /// Tells the router what happened.
    pub(crate) fn observe(&self, event: Event) {
        self.observe_both(event, None);
    }

    /// The same for two events with nothing in between.
    pub(crate) fn observe_both(&self, event: Event, then: Option<Event>) {
        let makes_room = then.is_some() || !matches!(event, Event::FirstToken { .. });
        let now = self.now();
        let mut router = self.router.lock();
        router.observe(event, now);
        if let Some(then) = then {
            router.observe(then, now);
        }
        drop(router);
        if makes_room {
            self.queues.call();
        }
        // Hardly ever does anybody wait, and then this is one load.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.ended.notify_waiters();
        }
    }

    /// A worker told what its cache did, in messages up to the one of this number. The lock is taken once for a message, and again and
    /// again for one that is huge.
    pub(crate) fn tell(&self, worker: WorkerId, (events, messages): (KvEvents, Option<u64>)) {
        let mut pieces = pieces(events, MOST_TOLD_BLOCKS).into_iter().peekable();
        while let Some(piece) = pieces.next() {
            let now = self.now();
            let mut router = self.router.lock();
            piece.into_iter().for_each(|event| router.observe(Event::Kv { worker, event }, now));
            if pieces.peek().is_none() {
                router.observe(Event::Heard { worker, messages }, now);
            }
            // Requests that wait for the lock come before the next piece.
            MutexGuard::unlock_fair(router);
        }
    }

    /// Other gateways have told this; the lock is taken again and again where it is much.
    pub(crate) fn hear(&self, events: impl IntoIterator<Item = Event>) {
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let (now, mut blocks) = (self.now(), 0);
            let mut router = self.router.lock();
            while blocks < MOST_TOLD_BLOCKS
                && let Some(event) = events.next()
            {
                blocks += as_blocks(&event);
                router.observe(event, now);
            }
            MutexGuard::unlock_fair(router);
        }
        // What they have less of is room.
        self.queues.call();
    }

    /// Decides in turn, when there is room: `decide` is asked until it finds some.
    pub(crate) async fn in_turn(
        &self,
        among: &Among,
        asker: (Asker, Bounds),
        mut decide: impl FnMut() -> Result<(Decision, Booking), NoWorker>,
    ) -> Result<(Decision, Booking), Turned> {
        let since = Instant::now();
        let decided = self.queues.in_turn(among, asker, || {
            let (decision, booking) = decide()?;
            let uncached = decision.prompt - decision.overlap;
            Ok(((decision, booking), uncached))
        });
        let decided = decided.await;
        match &decided {
            Ok(_) => self.metrics.waited(since.elapsed()),
            Err(turned) => self.metrics.turned(turned.cause()),
        }
        decided
    }

    /// Requests booked on `worker`.
    pub(crate) fn in_flight_at(&self, worker: WorkerId) -> u32 {
        self.router.lock().in_flight_at(worker)
    }

    /// Whether `worker` may be given one more request.
    pub(crate) fn has_room(&self, worker: WorkerId) -> bool {
        self.router.lock().has_room(worker)
    }

    /// Waits until no request is booked on `worker`.
    pub(crate) async fn idle(&self, worker: WorkerId) {
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let ended = self.ended.notified();
            // Whoever ends after this look wakes us: `notified` counts from its creation.
            if self.router.lock().in_flight_at(worker) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Where a request would go, without sending it.
    pub(crate) fn explain(&self, request: &Request<'_>) -> Result<Explanation, NoWorker> {
        self.router.lock().explain(request, self.now())
    }

    /// Chooses by another policy from now on.
    pub(crate) fn set_policy(&self, policy: &PolicyConfig) {
        self.router.lock().set_policy(policy);
    }

    /// The router's view of the workers, for showing.
    pub(crate) fn workers(&self) -> Vec<WorkerView> {
        self.router.lock().workers().collect()
    }

    /// How many leading blocks of `chain` a worker is believed to hold, and how many blocks at all.
    #[cfg(test)]
    pub(crate) fn held(&self, worker: WorkerId, chain: &[warmroute_kv::BlockHash]) -> (usize, usize) {
        let router = self.router.lock();
        (router.leading_blocks(worker, chain), router.held_by(worker).get())
    }

    /// Requests booked and not yet ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.router.lock().in_flight()
    }

    /// Blocks that the router believes to be cached somewhere.
    pub(crate) fn indexed_blocks(&self) -> usize {
        self.router.lock().indexed_blocks()
    }

    /// About the bytes that everything takes which is believed of caches.
    pub(crate) fn router_bytes(&self) -> usize {
        self.router.lock().memory_bytes()
    }

    /// About the bytes that it takes to remember them.
    pub(crate) fn index_bytes(&self) -> usize {
        self.router.lock().index_bytes()
    }

    fn now(&self) -> Time {
        // 64 bits of nanoseconds last for 584 years of uptime.
        Time::from_nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// How many blocks of a prompt take as long as this to be taken in.
fn as_blocks(event: &Event) -> usize {
    match event {
        Event::Sent { prompt, .. } => 1 + prompt.blocks.len(),
        _ => 1,
    }
}

/// Somebody waits for the end of requests; dropping it ends the waiting.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A request's place in the router's books. Dropping it without an end counts as aborted.
pub(crate) struct Booking {
    core: Arc<Core>,
    id: BookingId,
    open: bool,
    /// Whether other gateways are told of it.
    told: bool,
}

impl Booking {
    /// The request is tried on another worker.
    pub(crate) fn moved(&self, to: WorkerId, cause: &'static str) {
        self.core.observe(Event::Moved { booking: self.id, to });
        if self.told {
            self.core.outbox.sent(self.id, to, || self.core.router.lock().prompt(self.id));
        }
        self.core.metrics.retried(cause);
    }

    /// The first token of a stream came, `after` the request did.
    pub(crate) fn first_token(&self, after: Duration) {
        self.core.observe(Event::FirstToken { booking: self.id });
        self.became(Word::Read);
        self.core.metrics.first_token(after);
    }

    /// The answer is complete; if its first token came with that, so long `after` the request did.
    pub(crate) fn finish(mut self, usage: Option<Usage>, first_token: Option<Duration>) {
        self.open = false;
        let (booking, finished) = (self.id, Event::Finished { booking: self.id, usage });
        match first_token {
            Some(after) => {
                self.core.observe_both(Event::FirstToken { booking }, Some(finished));
                self.core.metrics.first_token(after);
            }
            None => self.core.observe(finished),
        }
        self.became(Word::Ended(usage));
    }

    fn became(&self, word: Word) {
        if self.told {
            self.core.outbox.became(self.id, word);
        }
    }
}

impl Drop for Booking {
    fn drop(&mut self) {
        if self.open {
            self.core.observe(Event::Aborted { booking: self.id });
            self.became(Word::Ended(None));
        }
    }
}
