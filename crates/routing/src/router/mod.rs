//! The router itself: keeps the books, asks the policy, tells the shadows.
//!
//! Both drivers make these calls and no others. Nothing here waits, logs or looks at a clock.

mod explain;
mod fallbacks;
mod hearsay;
mod narrow;
mod room;
mod survey;
#[cfg(test)]
mod tests;

use warmroute_kv::{BlockHash, Blocks, KvEvents, Tokens};

use self::fallbacks::fallbacks;
use self::room::Room;
use self::survey::Survey;
use crate::booking::{Booking, Bookings};
use crate::chance::Chance;
use crate::event::{Elsewhere, Event, Part, Usage};
use crate::fleet::{Fleet, Pace, State, Work, Worker, WorkerView};
use crate::ghost::Ghost;
use crate::index::{Index, Leading};
use crate::overtaken::Overtaken;
use crate::policy::{self, Candidate, Candidates, Choice, Policy, PolicyConfig};
use crate::promises::Promises;
use crate::request::{BookingId, Decision, Fate, NoWorker, Reason, Request, WorkerId};
use crate::scale::Scale;
use crate::shadow::Report;
use crate::time::Time;

pub use self::explain::Explanation;

/// How to route.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The rule that chooses.
    pub policy: PolicyConfig,
    /// Where chance begins.
    pub seed: u64,
    /// Bytes of memory for what is only believed: shadows, their part of the index, and what was sent lately. `None` is no bound.
    /// What workers tell of themselves comes on top.
    pub memory_bytes: Option<usize>,
}

/// Sends requests to workers. See the crate's documentation.
pub struct Router {
    policy: Box<dyn Policy>,
    policy_name: &'static str,
    /// Chooses for requests of which no cache can hold anything.
    by_load: Box<dyn Policy>,
    chance: Chance,
    part: Part,
    fleet: Fleet,
    bookings: Bookings,
    index: Index,
    ghost: Ghost,
    promises: Promises,
    overtaken: Overtaken,
    scale: Scale,
    /// How fast the fleet reads.
    pace: Pace,
    room: Option<Room>,
    decisions: u64,
    survey: Survey,
    /// Emptied after every use; kept for its memory.
    events: KvEvents,
}

impl Router {
    /// A router with no workers yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            policy: settings.policy.build(),
            policy_name: settings.policy.name(),
            by_load: policy::by_load(),
            chance: Chance::new(settings.seed),
            part: Part::ALL,
            fleet: Fleet::default(),
            bookings: Bookings::default(),
            index: Index::default(),
            ghost: Ghost::default(),
            promises: Promises::default(),
            overtaken: Overtaken::default(),
            scale: Scale::default(),
            pace: Pace::default(),
            room: settings.memory_bytes.map(Room::within),
            decisions: 0,
            survey: Survey::default(),
            events: KvEvents::new(),
        }
    }

    /// Decides where `request` goes and books its work there, until [`observe`](Self::observe) is told of its end.
    ///
    /// # Errors
    /// If no worker takes requests.
    pub fn route(&mut self, request: &Request<'_>, now: Time) -> Result<Decision, NoWorker> {
        self.survey(request, now);
        let occasion = self.occasion(request, now);
        let among =
            Candidates::new(self.survey.eligible(request), occasion).ok_or_else(|| self.nobody(request))?;
        let (rule, policy) = match request.by_load {
            true => (&mut self.by_load, policy::BY_LOAD),
            false => (&mut self.policy, self.policy_name),
        };
        let Choice { worker, reason } = if among.count() == 1 {
            Choice { worker: among.nth(0).worker, reason: Reason::Only }
        } else {
            rule.choose(request, among, &mut self.chance)
        };
        let chosen = among.of(worker).expect("a policy chooses one of the candidates");
        let fate = fate(chosen, self.survey.most, among.remembered());
        let fallbacks = fallbacks(among, worker);
        let mut booking = Booking::new(request, &self.scale, worker, now);
        booking.remembered = among.remembered();
        let (overlap, told) = self.foresee(request, (worker, chosen.overlap));
        booking.overlaps(self.survey.leading.depth_of(worker), overlap);
        let prompt = booking.prompt;
        let booking = self.book(booking, now);
        Ok(Decision { booking, worker, fallbacks, overlap, told, prompt, fate, reason, policy })
    }

    /// Takes in what happened. What concerns a worker or booking that is not (or no longer) known changes nothing.
    pub fn observe(&mut self, event: Event, now: Time) {
        match event {
            Event::Joined { worker, spec } => {
                self.forget(worker);
                self.fleet.join(worker, spec);
                self.share_room();
            }
            Event::Left { worker } => {
                self.forget(worker);
                self.fleet.leave(worker);
                self.share_room();
            }
            Event::Drained { worker } => self.fleet.drain(worker),
            Event::Resumed { worker } => self.fleet.resume(worker),
            Event::Suspected { worker } => self.fleet.suspect(worker, true),
            Event::Trusted { worker } => self.fleet.suspect(worker, false),
            Event::Seated { worker, seats } => self.fleet.seat(worker, seats),
            Event::Elsewhere { worker, load } => self.elsewhere(worker, load),
            Event::Shared { part } => self.part = part,
            Event::Told { worker, publishes } => self.told(worker, publishes),
            Event::Kv { worker, event } => self.tell(worker, &event),
            Event::FirstToken { booking } => self.first_token(booking, now),
            Event::Moved { booking, to } => self.moved(booking, to, now),
            Event::Finished { booking, usage } => self.finished(booking, usage, now),
            Event::Aborted { booking } => _ = self.unbook(booking, now),
        }
    }

    /// Chooses by another policy from now on. What is known of workers and prompts stays, and requests under way stay where they are; only
    /// what the old policy had learned for itself goes with it.
    pub fn set_policy(&mut self, policy: &PolicyConfig) {
        self.policy = policy.build();
        self.policy_name = policy.name();
    }

    /// Requests that were sent to `worker` and have not ended.
    pub fn in_flight_at(&self, worker: WorkerId) -> u32 {
        self.fleet.get(worker).map_or(0, |worker| worker.in_flight)
    }

    /// Whether one more request may be sent to `worker`, as far as its seats go.
    pub fn has_room(&self, worker: WorkerId) -> bool {
        self.fleet.get(worker).is_some_and(Worker::has_room)
    }

    /// Requests that were routed and have not ended.
    pub fn in_flight(&self) -> usize {
        self.bookings.len()
    }

    /// Blocks that at least one worker is believed to hold.
    pub fn indexed_blocks(&self) -> usize {
        self.index.len()
    }

    /// About the bytes of heap that the index takes.
    pub fn index_bytes(&self) -> usize {
        self.index.bytes()
    }

    /// About the bytes of heap that everything takes which `memory_bytes` bounds, the whole index included.
    pub fn memory_bytes(&self) -> usize {
        let shadows = self.fleet.iter().filter_map(|(_, worker)| worker.shadow.as_ref());
        self.index.bytes() + self.ghost.bytes() + shadows.map(|shadow| shadow.bytes()).sum::<usize>()
    }

    /// Blocks that `worker` is believed to hold.
    pub fn held_by(&self, worker: WorkerId) -> Blocks {
        self.index.held_by(worker)
    }

    /// How many leading blocks of `chain` it is believed to hold.
    pub fn leading_blocks(&self, worker: WorkerId, chain: &[BlockHash]) -> usize {
        let mut leading = Leading::default();
        self.index.leading(chain, &mut leading);
        leading.depth_of(worker)
    }

    /// The workers, in order of their ids.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView> {
        self.fleet.iter().map(|(id, worker)| WorkerView {
            id,
            up: worker.state == State::Up,
            suspected: worker.suspected,
            seats: worker.seats,
            in_flight: worker.in_flight,
            unread: worker.backlog.prompts(),
            queued: worker.backlog.total(),
            active: worker.footing.active(),
            context: worker.footing.context(),
            token_s: self.pace.token_s() * worker.slower,
            capacity: worker.capacity(),
            fill: self.fill(worker, None),
            predicted_tokens: worker.predicted,
            reported_tokens: worker.reported,
        })
    }

    fn nobody(&self, request: &Request<'_>) -> NoWorker {
        let may = |id| request.among.is_none_or(|among| among.contains(&id));
        let any = |state| self.fleet.iter().any(|(id, worker)| may(id) && worker.state == state);
        match (any(State::Up), any(State::Draining)) {
            (true, _) => NoWorker::Full,
            (false, true) => NoWorker::Draining,
            (false, false) => NoWorker::Unreachable,
        }
    }

    fn elsewhere(&mut self, id: WorkerId, load: Elsewhere) {
        let Some(worker) = self.fleet.get_mut(id) else { return };
        let had_room = worker.has_room();
        worker.elsewhere = load;
        self.fleet.reseated(had_room, id);
    }

    /// Opens a new booking and puts its work on its worker.
    fn book(&mut self, booking: Booking, now: Time) -> BookingId {
        let id = self.bookings.next_id();
        self.place(id, booking, now);
        id
    }

    fn place(&mut self, id: BookingId, mut booking: Booking, now: Time) {
        self.decisions += 1;
        let (at, weight) = (booking.worker, self.fleet.weight(now));
        if let Some(worker) = self.fleet.get_mut(at) {
            let had_room = worker.has_room();
            let ahead = worker.ahead(&self.pace, now);
            booking.work = Work { tokens: ahead.tokens + booking.uncached().as_f64(), ..ahead };
            worker.book(id, &booking, &self.pace, now);
            worker.recent += booking.uncached().as_f64() * weight;
            worker.last_chosen = self.decisions;
            match &mut worker.shadow {
                Some(shadow) => shadow.sent(booking.footprint(), &mut self.events),
                None if booking.is_worth_promising() => {
                    booking.promised = true;
                    self.promises.make(at, booking.footprint().blocks);
                }
                None => {}
            }
            self.fleet.reseated(had_room, at);
        }
        let tells = booking.tells;
        self.bookings.open(id, booking);
        if tells {
            self.drain_shadow(at);
        } else {
            self.hold(id);
        }
    }

    fn first_token(&mut self, id: BookingId, now: Time) {
        let Some(booking) = self.bookings.get_mut(id).filter(|booking| booking.waiting) else { return };
        booking.waiting = false;
        let (work, took) = (booking.work, now.since(booking.since));
        self.was_read(id, now);
        let Some(booking) = self.bookings.get(id) else { return };
        let Some(worker) = self.fleet.get_mut(booking.worker) else { return };
        worker.backlog.remove(id, now);
        worker.learn(self.pace.seconds(work), took);
        self.pace.learn(work, took);
        self.hold(id);
    }

    fn moved(&mut self, id: BookingId, to: WorkerId, now: Time) {
        // A worker that is not known has no account to book on: the work stays where it is until the request ends.
        if self.fleet.get(to).is_none() {
            return;
        }
        let Some(mut booking) = self.unbook(id, now) else { return };
        let blocks = self.leading_blocks(to, booking.footprint().blocks);
        let overlap = Tokens((blocks as f64 * booking.block_tokens).round() as u32);
        booking.overlaps(blocks, overlap.min(booking.prompt));
        booking.worker = to;
        booking.since = now;
        booking.waiting = true;
        self.place(id, booking, now);
    }

    fn finished(&mut self, id: BookingId, usage: Option<Usage>, now: Time) {
        if self.bookings.get(id).is_some_and(|booking| booking.waiting) {
            self.was_read(id, now);
        }
        let Some(booking) = self.unbook(id, now) else { return };
        let Some(usage) = usage else { return };
        if booking.by_load {
            return;
        }
        if let Some(bytes) = booking.bytes {
            self.scale.learn(bytes, usage.prompt);
        }
        self.scale.learn_answer(usage.output, now.since(booking.since));
        let Some(worker) = self.fleet.get_mut(booking.worker) else { return };
        if let Some(cached) = usage.cached {
            worker.predicted += u64::from(booking.overlap.0);
            worker.reported += u64::from(cached.0);
        }
        if let Some(shadow) = &mut worker.shadow {
            shadow.answered(&booking, &Report { usage, unique: id.0 }, &mut self.events);
        }
        self.drain_shadow(booking.worker);
    }

    /// Ends a booking and frees its work; a second end finds nothing.
    fn unbook(&mut self, id: BookingId, now: Time) -> Option<Booking> {
        let mut booking = self.bookings.close(id)?;
        if std::mem::take(&mut booking.promised) {
            self.promises.settle(booking.worker, booking.footprint().blocks);
        }
        if let Some(worker) = self.fleet.get_mut(booking.worker) {
            let had_room = worker.has_room();
            worker.unbook(id, &booking, now);
            self.fleet.reseated(had_room, booking.worker);
        }
        self.fleet.bury(booking.worker);
        Some(booking)
    }
}

/// What the choice of `chosen` makes of the prompt's tokens, of which somebody holds `best` and somebody sent `remembered`.
fn fate(chosen: &Candidate, best: Tokens, remembered: Tokens) -> Fate {
    let prompt = chosen.overlap + chosen.uncached;
    let remembered = remembered.max(best);
    Fate {
        hit: chosen.overlap,
        lost_to_load: best - chosen.overlap,
        lost_to_eviction: remembered - best,
        unseen: prompt - remembered,
    }
}
