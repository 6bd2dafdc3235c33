//! The router itself: keeps the books, asks the policy, tells the shadows.
//!
//! Both drivers make these calls and no others. Nothing here waits, logs or looks at a clock.

mod course;
mod elsewhere;
mod explain;
mod fallbacks;
mod hearsay;
mod narrow;
mod room;
mod survey;
#[cfg(test)]
mod tests;
mod unwritten;

use warmroute_kv::{BlockHash, Blocks, KvEvents, Tokens};

use self::elsewhere::DistantRequests;
use self::fallbacks::fallbacks;
use self::room::Room;
use self::survey::Survey;
use self::unwritten::Unwritten;
use crate::booking::{Booking, Bookings};
use crate::chance::Chance;
use crate::event::{Event, Part};
use crate::fleet::{Fleet, Pace, State, Worker, WorkerView};
use crate::ghost::Ghost;
use crate::index::{Index, Leading};
use crate::overtaken::Overtaken;
use crate::policy::{self, Candidate, Choice, Policy, PolicyConfig};
use crate::promises::Promises;
use crate::request::{Decision, Fate, NoWorker, Reason, Request, WorkerId};
use crate::scale::Scale;
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
    distant: DistantRequests,
    scale: Scale,
    /// How fast the fleet reads.
    pace: Pace,
    room: Option<Room>,
    decisions: u64,
    survey: Survey,
    unwritten: Unwritten,
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
            distant: DistantRequests::default(),
            scale: Scale::default(),
            pace: Pace::default(),
            room: settings.memory_bytes.map(Room::within),
            decisions: 0,
            survey: Survey::default(),
            unwritten: Unwritten::default(),
            events: KvEvents::new(),
        }
    }

    /// Decides where `request` goes and books its work there, until [`observe`](Self::observe) is told of its end.
    ///
    /// # Errors
    /// If no worker takes requests.
    pub fn route(&mut self, request: &Request<'_>, now: Time) -> Result<Decision, NoWorker> {
        self.write_up();
        self.survey(request, now);
        let (known, news) = self.ghost.recall(request.blocks, self.survey.leading.deepest());
        self.unwritten.most_marks = self.most_marks(self.scale.block(request));
        let occasion = self.occasion_after(request, known, now);
        let Some(among) = self.survey.among(request, occasion) else {
            self.ghost.take_in(request.blocks, news, self.unwritten.most_marks);
            return Err(self.nobody(request));
        };
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
        let fate = fate(chosen, among.overlaps().1, among.remembered());
        let fallbacks = fallbacks(among, worker);
        let mut booking = Booking::new(request, &self.scale, worker, now);
        booking.remembered = among.remembered();
        let (overlap, told) = self.foresee(request, (worker, chosen.overlap));
        booking.overlaps(self.survey.leading.depth_of(worker), overlap);
        let prompt = booking.prompt;
        let predicted = self.expected(worker, overlap).min(request.most_reusable().unwrap_or(prompt));
        booking.predicted = predicted;
        let booking = self.book(booking, now);
        self.unwritten.news = Some((booking, news));
        let told = if told { self.fleet.counts_on(worker) } else { None };
        Ok(Decision { booking, worker, fallbacks, overlap: predicted, told, prompt, fate, reason, policy })
    }

    /// Takes in what happened. What concerns a worker or booking that is not (or no longer) known changes nothing.
    pub fn observe(&mut self, event: Event, now: Time) {
        self.write_up();
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
            Event::Sent { request, worker, prompt } => self.sent_elsewhere(request, worker, prompt),
            Event::Read { request } => self.read_elsewhere(request),
            Event::Ended { request, usage } => self.ended_elsewhere(request, usage),
            Event::Unheard { gateway } => self.unheard(gateway),
            Event::Placed { worker, place } => self.fleet.stand(worker, place),
            Event::Shared { part } => self.part = part,
            Event::Told { worker, publishes } => self.told(worker, publishes),
            Event::Kv { worker, event } => self.tell(worker, &event),
            Event::Heard { worker, messages } => self.fleet.heard(worker, messages),
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
