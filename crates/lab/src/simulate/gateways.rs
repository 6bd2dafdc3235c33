//! The gateways of a run: the shipped router, once or several times, each with its own view of the fleet.
//!
//! A gateway knows at once what it did itself. What engines tell, what other gateways have under way, and what they have sent to engines
//! that tell nothing, reaches it after the scenario's lag.

use std::num::NonZeroU32;

use warmroute_kv::{KvEvent, Tokens};
use warmroute_routing::{
    Decision, Distant, Elsewhere, Event, NoWorker, Part, Prompt, Publishes, Request, Router, Settings, Text,
    Time, Unit, Usage, WorkerId, WorkerSpec,
};

use super::flight::Flight;
use super::scenario::{Scenario, View};

/// All gateways.
pub(super) struct Gateways {
    routers: Vec<Router>,
    /// Whose turn it is to take a request.
    turn: usize,
    spec: WorkerSpec,
    block: Tokens,
}

/// What the other gateways hear of a request.
#[derive(Clone, Copy)]
pub(super) enum Word {
    /// It was sent to a worker.
    Sent(WorkerId),
    /// Its first token came.
    Read,
    /// It has ended; what its worker reported, if it was answered.
    Ended(Option<Usage>),
}

/// What each gateway has under way on each worker, at one moment.
pub(super) type Snapshot = Vec<Vec<(WorkerId, Elsewhere)>>;

impl Gateways {
    /// The scenario's gateways, which know no worker yet.
    pub(super) fn new(scenario: &Scenario, block: Tokens) -> Self {
        let settings = |seed| Settings { policy: scenario.policy.clone(), seed, memory_bytes: None };
        let publishes = match scenario.view {
            View::Exact => Publishes::Events,
            View::Shadow => Publishes::Nothing,
        };
        let of = NonZeroU32::new(scenario.gateways as u32).unwrap_or(NonZeroU32::MIN);
        let router = |which: u32| {
            let mut router = Router::new(settings(scenario.seed ^ (u64::from(which) << 48)));
            router.observe(Event::Shared { part: Part { which, of } }, Time::ZERO);
            router
        };
        Self {
            routers: (0..of.get()).map(router).collect(),
            turn: 0,
            spec: WorkerSpec { capacity: Some(scenario.cache), publishes },
            block,
        }
    }

    /// Routes a request at the gateway whose turn it is, and notes the decision in `flight`.
    pub(super) fn route(
        &mut self,
        flight: &mut Flight,
        session: u64,
        now: Time,
    ) -> Result<Decision, NoWorker> {
        flight.gateway = self.turn;
        self.turn = (self.turn + 1) % self.routers.len();
        let ask = &flight.ask;
        let request = Request {
            prompt: ask.prompt.get(),
            block: self.block.get().into(),
            text: Text::Known(&ask.content.text),
            session: Some(session),
            ..Request::new(ask.content.root, ask.prompt_blocks(self.block))
        };
        let decision = self.routers[flight.gateway].route(&request, now)?;
        flight.booking = Some(decision.booking);
        flight.worker = Some(decision.worker);
        flight.predicted = decision.overlap;
        flight.fallbacks.clone_from(&decision.fallbacks);
        Ok(decision)
    }

    /// Tells the gateway that took a request what became of it.
    pub(super) fn observe(&mut self, gateway: usize, event: Event, now: Time) {
        self.routers[gateway].observe(event, now);
    }

    /// Every gateway hears that a worker is there.
    pub(super) fn joined(&mut self, worker: WorkerId, now: Time) {
        self.tell_all(&Event::Joined { worker, spec: self.spec }, now);
    }

    /// Every gateway hears the same.
    pub(super) fn tell_all(&mut self, event: &Event, now: Time) {
        for router in &mut self.routers {
            router.observe(event.clone(), now);
        }
    }

    /// Every gateway hears what an engine's cache did.
    pub(super) fn hear(&mut self, worker: WorkerId, events: &[KvEvent], now: Time) {
        if self.spec.publishes == Publishes::Events {
            for event in events {
                self.tell_all(&Event::Kv { worker, event: event.clone() }, now);
            }
        }
    }

    /// What each gateway has under way, to be told to the others later.
    pub(super) fn snapshot(&self) -> Snapshot {
        let own = |router: &Router| {
            let load = |view: warmroute_routing::WorkerView| {
                let warmroute_routing::WorkerView { in_flight, unread, queued, active, context, .. } = view;
                (view.id, Elsewhere { in_flight, unread, queued, active, context })
            };
            router.workers().map(load).collect()
        };
        self.routers.iter().map(own).collect()
    }

    /// Each gateway hears what the others had under way.
    pub(super) fn exchange(&mut self, snapshot: &Snapshot, now: Time) {
        for (gateway, router) in self.routers.iter_mut().enumerate() {
            let others = || snapshot.iter().enumerate().filter(move |(other, _)| *other != gateway);
            let known: Vec<WorkerId> = router.workers().map(|view| view.id).collect();
            for worker in known {
                let theirs = others().flat_map(|(_, loads)| loads).filter(|(id, _)| *id == worker);
                let load = theirs.map(|(_, load)| *load).sum();
                router.observe(Event::Elsewhere { worker, load }, now);
            }
        }
    }

    /// Whether they tell each other which prompts they sent: engines that speak for their caches tell all of them better.
    pub(super) fn tell_prompts(&self) -> bool {
        self.routers.len() > 1 && self.spec.publishes == Publishes::Nothing
    }

    /// All gateways but the one that sent it hear of a request.
    pub(super) fn hear_of(&mut self, request: Distant, flight: &Flight, word: Word, now: Time) {
        let event = match word {
            Word::Sent(worker) => Event::Sent { request, worker, prompt: self.prompt(flight) },
            Word::Read => Event::Read { request },
            Word::Ended(usage) => Event::Ended { request, usage },
        };
        for (gateway, router) in self.routers.iter_mut().enumerate() {
            if gateway as u64 != request.gateway {
                router.observe(event.clone(), now);
            }
        }
    }

    fn prompt(&self, flight: &Flight) -> Prompt {
        let ask = &flight.ask;
        Prompt {
            root: ask.content.root,
            blocks: ask.prompt_blocks(self.block).into(),
            unit: Unit::Tokens,
            block: self.block.get().into(),
        }
    }

    /// The routers, for checks.
    pub(super) fn routers(&self) -> &[Router] {
        &self.routers
    }
}
