//! A run: what happens when, until every session is over.
//!
//! The gateways decide, the engines keep time, and this loop carries word between them. It decides nothing itself.

use std::sync::Arc;
use std::time::Duration;

use warmroute_kv::timed::{Engine, EngineSpec, Job, RequestId, Signal, StepTime};
use warmroute_kv::{KvEvent, KvEvents, Tokens};
use warmroute_routing::{Chance, Distant, Event, Time, Usage, WorkerId};

use super::agenda::Agenda;
use super::checks::{self, Broken};
use super::flight::{Flight, Place};
use super::gateways::{Gateways, Snapshot, Word};
use super::measures::{self, Ledger};
use super::report::RunReport;
use super::scenario::{Happening, Scenario};
use super::yardsticks::Yardsticks;
use crate::traffic::{Ask, Traffic};

/// How often gateways tell each other what they have under way.
const EXCHANGE: Duration = Duration::from_millis(50);

/// Plays `traffic` on the scenario's fleet.
///
/// # Errors
/// If an invariant of the router or the simulator does not hold: a defect, never bad luck.
pub fn simulate(traffic: &Traffic, scenario: &Scenario) -> Result<RunReport, Broken> {
    let mut world = World::new(traffic, scenario);
    world.open();
    while let Some((at, planned)) = world.agenda.next() {
        world.now = at;
        world.happen(planned)?;
        if world.ended == world.sent && world.to_start == 0 && world.thinking == 0 {
            break;
        }
    }
    checks::at_the_end(&world)?;
    Ok(measures::report(&world))
}

/// What is on the agenda.
enum Planned {
    /// A turn of a session is sent.
    Send(Place),
    /// An engine ends the step it began in this life.
    StepEnd { worker: usize, life: u32 },
    /// The gateways hear what an engine's cache did.
    Hear { worker: usize, life: u32, events: Arc<KvEvents> },
    /// The other gateways hear what became of a request at an engine in this life.
    HearOf { worker: WorkerId, life: u32, request: Distant, id: RequestId, word: Word },
    /// The gateways tell each other what they have under way.
    Exchange,
    /// And hear it.
    Exchanged(Snapshot),
    /// A change of the scenario's.
    Change(usize),
}

/// An engine's place in the fleet.
pub(super) struct Seat {
    pub(super) engine: Engine<Ask>,
    /// `false` once it died.
    pub(super) alive: bool,
    /// Counts its restarts: a step of an earlier life never ends.
    life: u32,
    /// The share of its events that is lost.
    lost_events: f64,
}

/// Everything there is in a run.
pub(super) struct World<'a> {
    pub(super) traffic: &'a Traffic,
    pub(super) scenario: &'a Scenario,
    pub(super) now: Time,
    agenda: Agenda<Planned>,
    pub(super) seats: Vec<Seat>,
    pub(super) gateways: Gateways,
    pub(super) flights: Vec<Flight>,
    /// For each session, the answers its present turn waits for.
    awaited: Vec<usize>,
    yardsticks: Yardsticks,
    pub(super) ledger: Ledger,
    chance: Chance,
    signals: Vec<Signal>,
    sent: usize,
    ended: usize,
    to_start: usize,
    /// Sessions between two turns.
    thinking: usize,
}

impl<'a> World<'a> {
    fn new(traffic: &'a Traffic, scenario: &'a Scenario) -> Self {
        let fleet = Tokens(scenario.cache.0.saturating_mul(scenario.workers as u32));
        Self {
            traffic,
            scenario,
            now: Time::ZERO,
            agenda: Agenda::new(),
            seats: Vec::new(),
            gateways: Gateways::new(scenario, traffic.block),
            flights: Vec::with_capacity(traffic.requests()),
            awaited: vec![0; traffic.sessions.len()],
            yardsticks: Yardsticks::new(fleet, traffic.block),
            ledger: Ledger::default(),
            chance: Chance::new(scenario.seed ^ 0x51_0e),
            signals: Vec::new(),
            sent: 0,
            ended: 0,
            to_start: traffic.sessions.len(),
            thinking: 0,
        }
    }

    /// Brings up the fleet and plans what is known beforehand.
    fn open(&mut self) {
        for _ in 0..self.scenario.workers {
            self.join();
        }
        for (session, plan) in self.traffic.sessions.iter().enumerate() {
            let first = plan.turns.first().map_or(Duration::ZERO, |turn| turn.think);
            self.agenda.plan(Time::ZERO + plan.start + first, Planned::Send(Place { session, turn: 0 }));
        }
        for (number, change) in self.scenario.changes.iter().enumerate() {
            self.agenda.plan(Time::ZERO + change.at, Planned::Change(number));
        }
        if self.scenario.gateways > 1 {
            self.agenda.plan(Time::ZERO + EXCHANGE, Planned::Exchange);
        }
    }

    fn happen(&mut self, planned: Planned) -> Result<(), Broken> {
        match planned {
            Planned::Send(place) => self.send(place)?,
            Planned::StepEnd { worker, life } => self.step_ended(worker, life),
            // A gateway knows a worker that restarted by its new connection, and lets go of what the old one told.
            Planned::Hear { worker, life, events } if self.seats[worker].life == life => {
                self.gateways.hear(WorkerId(worker as u32), &events, self.now);
            }
            Planned::HearOf { worker, life, request, id, word } => {
                // Ends are ends, but what was sent to an engine that has died since is not there.
                if self.seats[worker.0 as usize].life == life || !matches!(word, Word::Sent(_)) {
                    self.gateways.hear_of(request, &self.flights[id.0], word, self.now);
                }
            }
            Planned::Hear { .. } => {}
            Planned::Exchange => {
                let snapshot = self.gateways.snapshot();
                self.agenda.plan(self.now + self.scenario.view_lag, Planned::Exchanged(snapshot));
                self.agenda.plan(self.now + EXCHANGE, Planned::Exchange);
            }
            Planned::Exchanged(snapshot) => self.gateways.exchange(&snapshot, self.now),
            Planned::Change(number) => self.change(number),
        }
        Ok(())
    }

    /// Sends everything that a turn asks.
    fn send(&mut self, place: Place) -> Result<(), Broken> {
        let session = &self.traffic.sessions[place.session];
        if place.turn == 0 {
            self.to_start -= 1;
        } else {
            self.thinking -= 1;
        }
        let asks = &session.turns[place.turn].asks;
        self.awaited[place.session] = asks.len();
        for ask in asks {
            let mut flight = Flight::new(place, ask.clone(), self.now);
            (flight.oracle, flight.one_lru) = self.yardsticks.arrived(ask);
            let id = RequestId(self.flights.len());
            let decision = self.gateways.route(&mut flight, session.key, self.now);
            self.sent += 1;
            self.flights.push(flight);
            match decision {
                Ok(decision) => {
                    self.ledger.decided(&decision);
                    checks::at_a_decision(self, id)?;
                    self.give(decision.worker, Job::new(id, ask.clone()));
                }
                Err(_) => self.end(id, false),
            }
        }
        Ok(())
    }

    fn give(&mut self, worker: WorkerId, job: Job<Ask>) {
        let seat = worker.0 as usize;
        self.tell_others(job.id, Word::Sent(worker));
        self.seats[seat].engine.enqueue(job);
        self.begin_step(seat);
    }

    /// The other gateways hear this of a request later.
    fn tell_others(&mut self, id: RequestId, word: Word) {
        let flight = &self.flights[id.0];
        let (Some(worker), Some(booking)) = (flight.worker, flight.booking) else { return };
        if self.gateways.tell_prompts() {
            let request = Distant { gateway: flight.gateway as u64, booking };
            let life = self.seats[worker.0 as usize].life;
            let heard = Planned::HearOf { worker, life, request, id, word };
            self.agenda.plan(self.now + self.scenario.view_lag, heard);
        }
    }

    /// Lets an engine begin its next step if it can, and tells what its cache did for it.
    fn begin_step(&mut self, worker: usize) {
        let seat = &mut self.seats[worker];
        let mut signals = std::mem::take(&mut self.signals);
        if let Some(took) = seat.engine.begin_step(&mut signals) {
            self.agenda.plan(self.now + took, Planned::StepEnd { worker, life: seat.life });
        }
        self.publish(worker);
        self.act_on(&mut signals);
        self.signals = signals;
    }

    fn step_ended(&mut self, worker: usize, life: u32) {
        let seat = &mut self.seats[worker];
        if seat.life != life || !seat.alive {
            return;
        }
        let before = seat.engine.prefilled;
        let mut signals = std::mem::take(&mut self.signals);
        seat.engine.end_step(&mut signals);
        self.ledger.prefilled(worker, seat.engine.prefilled - before, self.now);
        self.publish(worker);
        self.act_on(&mut signals);
        self.signals = signals;
        self.begin_step(worker);
    }

    /// Sends what an engine's cache did on its way to the gateways.
    fn publish(&mut self, worker: usize) {
        let seat = &mut self.seats[worker];
        if seat.engine.events.is_empty() {
            return;
        }
        let (lost, chance) = (seat.lost_events, &mut self.chance);
        let mut arrives = |_: &KvEvent| lost == 0.0 || chance.unit() >= lost;
        seat.engine.events.retain(&mut arrives);
        if self.scenario.view_lag == Duration::ZERO {
            self.gateways.hear(WorkerId(worker as u32), &seat.engine.events, self.now);
            seat.engine.events.clear();
        } else {
            let events = Arc::new(std::mem::take(&mut seat.engine.events));
            let heard = Planned::Hear { worker, life: seat.life, events };
            self.agenda.plan(self.now + self.scenario.view_lag, heard);
        }
    }

    fn act_on(&mut self, signals: &mut Vec<Signal>) {
        for signal in signals.drain(..) {
            match signal {
                Signal::FirstToken { id, cached } => {
                    let flight = &mut self.flights[id.0];
                    flight.cached = cached;
                    flight.first.get_or_insert(self.now);
                    let told = flight.booking.map(|booking| (flight.gateway, Event::FirstToken { booking }));
                    if let Some((gateway, event)) = told {
                        self.gateways.observe(gateway, event, self.now);
                        self.tell_others(id, Word::Read);
                    }
                }
                Signal::Done { id } => self.end(id, true),
                Signal::Refused { id } => self.end(id, false),
            }
        }
    }

    /// A request is over; the session's next turn follows when all of this one's are.
    fn end(&mut self, id: RequestId, answered: bool) {
        let ask = &self.flights[id.0].ask;
        let usage = Usage { prompt: ask.prompt, cached: None, output: ask.output };
        self.tell_others(id, Word::Ended(answered.then_some(usage)));
        let flight = &mut self.flights[id.0];
        flight.ended = Some(self.now);
        flight.answered = answered;
        if let Some(booking) = flight.booking.take() {
            let usage =
                Usage { prompt: flight.ask.prompt, cached: Some(flight.cached), output: flight.ask.output };
            let event = if answered {
                Event::Finished { booking, usage: Some(usage) }
            } else {
                Event::Aborted { booking }
            };
            self.gateways.observe(flight.gateway, event, self.now);
        }
        if answered {
            self.yardsticks.answered(&flight.ask);
        }
        self.ended += 1;
        let Place { session, turn } = flight.place;
        self.awaited[session] -= 1;
        if self.awaited[session] > 0 {
            return;
        }
        if let Some(next) = self.traffic.sessions[session].turns.get(turn + 1) {
            self.thinking += 1;
            self.agenda.plan(self.now + next.think, Planned::Send(Place { session, turn: turn + 1 }));
        }
    }

    fn join(&mut self) {
        let worker = self.seats.len();
        let steps = StepTime::Model(self.scenario.engine);
        let spec = EngineSpec::new(steps, self.scenario.cache, self.traffic.block);
        self.seats.push(Seat { engine: Engine::new(spec), alive: true, life: 0, lost_events: 0.0 });
        self.gateways.joined(WorkerId(worker as u32), self.now);
    }

    fn change(&mut self, number: usize) {
        let change = self.scenario.changes[number];
        let worker = WorkerId(change.worker as u32);
        match change.happening {
            Happening::Join => self.join(),
            Happening::Drain => self.gateways.tell_all(&Event::Drained { worker }, self.now),
            Happening::Leave => self.die(change.worker, false),
            Happening::Restart => self.die(change.worker, true),
            Happening::Slow(times) => self.seats[change.worker].engine.slowness = times,
            Happening::LoseEvents(share) => self.seats[change.worker].lost_events = share,
        }
    }

    /// A worker dies. What it had not begun to answer is sent elsewhere; the rest has failed.
    fn die(&mut self, worker: usize, comes_back: bool) {
        let seat = &mut self.seats[worker];
        seat.life += 1;
        seat.alive = comes_back;
        let jobs = seat.engine.die();
        seat.engine.events.clear();
        let id = WorkerId(worker as u32);
        self.gateways.tell_all(&Event::Left { worker: id }, self.now);
        for job in jobs {
            self.retry(job);
        }
        if comes_back {
            self.gateways.joined(id, self.now);
        }
    }

    /// Sends a request that lost its worker to the first of its fallbacks that lives, unless the client has seen a token.
    fn retry(&mut self, job: Job<Ask>) {
        let seats = &self.seats;
        let flight = &mut self.flights[job.id.0];
        let lives = |worker: &WorkerId| seats[worker.0 as usize].alive && Some(*worker) != flight.worker;
        let to = flight.fallbacks.iter().copied().find(lives);
        match (to, flight.first, flight.booking) {
            (Some(to), None, Some(booking)) => {
                flight.worker = Some(to);
                let gateway = flight.gateway;
                self.gateways.observe(gateway, Event::Moved { booking, to }, self.now);
                self.give(to, Job::new(job.id, job.ask));
            }
            _ => self.end(job.id, false),
        }
    }
}
