//! One worker's account: whether it takes requests, what it has to do, and what is known of its cache.

use std::time::Duration;

use warmroute_kv::Tokens;

use super::{Backlog, Footing, Left, Pace, Slowness, Unread, Work};
use crate::booking::Booking;
use crate::event::{Elsewhere, Publishes, WorkerSpec};
use crate::index::Slot;
use crate::request::{BookingId, WorkerId};
use crate::shadow::Shadow;
use crate::time::Time;

/// Of the time that a first token takes whatever its prompt, so much is the prompt's own step; the rest is the wait for the step
/// under way, which a prompt behind it does not wait for again.
const FIXED_SHARE: f64 = 2.0 / 3.0;

/// Whether a worker takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    Draining,
    /// Not reachable; kept only while requests are booked on it.
    Gone,
}

/// One worker's account.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) spec: WorkerSpec,
    pub(crate) state: State,
    /// It fails lately: it is given work only where nobody else takes any.
    pub(crate) suspected: bool,
    /// Requests it takes at once, if that is known.
    pub(crate) seats: Option<u32>,
    pub(crate) in_flight: u32,
    /// Prompts that it has not read yet.
    pub(crate) backlog: Backlog,
    /// What its requests in flight need of its cache.
    pub(crate) footing: Footing,
    /// What other gateways have under way on it, as last heard.
    pub(crate) elsewhere: Elsewhere,
    /// Where all gateways have it in their order of workers.
    pub(crate) place: u32,
    pub(super) slowness: Slowness,
    /// How many times as long as the fleet it takes to read: what `slowness` says, worked out when it learns.
    pub(crate) slower: f64,
    /// Uncached prompt tokens given to it lately, in the unit of the fleet's [`Decay`].
    pub(crate) recent: f64,
    /// Uncached prompt tokens given to it since its cache was last empty.
    pub(crate) given: f64,
    /// The number of the decision that chose it last; 0 if none did.
    pub(crate) last_chosen: u64,
    /// On the heap, so that a survey steps over small accounts.
    pub(crate) shadow: Option<Box<Shadow>>,
    /// Where the index has it, if it holds anything.
    pub(crate) slot: Option<Slot>,
    /// Messages about its cache that were heard, where it numbers them.
    pub(crate) heard: Option<u64>,
    /// Decisions for it while it told of its cache.
    pub(crate) counted_on: u64,
    /// Prompt tokens believed cached, of the requests that reported what really was.
    pub(crate) predicted: u64,
    /// Prompt tokens reported cached.
    pub(crate) reported: u64,
    /// What the fleet's capacity has of this worker's.
    pub(super) counted: Tokens,
}

impl Worker {
    pub(super) fn new(spec: WorkerSpec) -> Self {
        Self {
            spec,
            state: State::Up,
            suspected: false,
            seats: None,
            in_flight: 0,
            backlog: Backlog::default(),
            footing: Footing::default(),
            elsewhere: Elsewhere::default(),
            place: 0,
            slowness: Slowness::default(),
            slower: Slowness::default().ratio(),
            recent: 0.0,
            given: 0.0,
            last_chosen: 0,
            shadow: None,
            slot: None,
            heard: None,
            counted_on: 0,
            predicted: 0,
            reported: 0,
            counted: Tokens::ZERO,
        }
    }

    /// Begins to hear of its cache from whom `spec` says, with nothing.
    pub(super) fn hear(&mut self, spec: WorkerSpec) {
        self.spec = spec;
        self.given = 0.0;
        self.slot = None;
        self.heard = None;
        let guessed = spec.publishes == Publishes::Nothing;
        self.shadow = guessed.then(|| Box::new(Shadow::new(spec.capacity)));
    }

    /// Whether one more request may run on it.
    pub(crate) fn has_room(&self) -> bool {
        self.seats.is_none_or(|seats| self.in_flight + self.elsewhere.in_flight < seats)
    }

    /// Tokens that its cache holds, as far as is known: corrected by what it reports, where it has a shadow.
    pub(crate) fn capacity(&self) -> Option<Tokens> {
        self.shadow.as_ref().map(|shadow| shadow.capacity()).or(self.spec.capacity)
    }

    /// What a new request's first token would wait for, its own prompt not counted.
    pub(crate) fn ahead(&self, pace: &Pace, now: Time) -> Work {
        let ahead = self.ahead_of_unread();
        let own = self.backlog.left(now).in_tokens(pace.token_s() * self.slower);
        Work { tokens: own + ahead.tokens, ..ahead }
    }

    /// Seconds until the first token of a prompt that this worker holds: what `left` of its unread prompts takes, and all else ahead.
    pub(crate) fn wait_s(pace: &Pace, slower: f64, (left, ahead): (Left, Work)) -> f64 {
        // The prompt in front is known in seconds of this very worker.
        left.front_s + slower * pace.seconds(Work { tokens: left.tokens + ahead.tokens, ..ahead })
    }

    /// What of it does not depend on the clock: all but this gateway's own unread prompts.
    pub(crate) fn ahead_of_unread(&self) -> Work {
        Work {
            tokens: self.elsewhere.queued.as_f64(),
            context: (self.footing.context() + self.elsewhere.context).as_f64(),
        }
    }

    /// Takes the work of a request.
    pub(crate) fn book(&mut self, id: BookingId, booking: &Booking, pace: &Pace, now: Time) {
        let uncached = booking.uncached();
        let alone = Work { tokens: uncached.as_f64(), context: booking.work.context };
        let own_s = pace.token_s() * uncached.as_f64();
        let takes_s = (own_s + FIXED_SHARE * (pace.seconds(alone) - own_s)) * self.slower;
        self.in_flight += 1;
        self.footing.add(booking);
        self.backlog.push(Unread { booking: id, uncached, takes_s, tells: booking.tells }, now);
        self.given += uncached.as_f64();
    }

    /// A first token took so long, and should have taken `expected` seconds.
    pub(crate) fn learn(&mut self, expected: f64, took: Duration) {
        self.slowness.learn(expected, took);
        self.slower = self.slowness.ratio();
    }

    /// Gives up the work of a request, its prompt included if it was still to be read.
    pub(crate) fn unbook(&mut self, id: BookingId, booking: &Booking, now: Time) {
        debug_assert!(self.in_flight > 0, "a booking was released twice");
        self.in_flight = self.in_flight.saturating_sub(1);
        self.footing.remove(booking);
        self.backlog.remove(id, now);
        if let Some(shadow) = &mut self.shadow {
            shadow.ended(id.into());
        }
    }
}

/// One worker as metrics and dashboards see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerView {
    /// Who.
    pub id: WorkerId,
    /// Whether it takes new requests.
    pub up: bool,
    /// Whether it fails lately and is spared.
    pub suspected: bool,
    /// Requests it takes at once, if that is known.
    pub seats: Option<u32>,
    /// Requests sent and not ended.
    pub in_flight: u32,
    /// Those of them whose first token has not come.
    pub unread: u32,
    /// The uncached prompt tokens of these.
    pub queued: Tokens,
    /// Tokens of KV state that its requests in flight need on average over their time, half of each answer; what several
    /// share counts once.
    pub active: Tokens,
    /// The same, with what they share counted for each.
    pub context: Tokens,
    /// Seconds it takes to read a prompt token, as learned from first tokens.
    pub token_s: f64,
    /// Tokens that its cache is taken to hold, if anything is known: told by the worker, or corrected by what it reports.
    pub capacity: Option<Tokens>,
    /// The share of its cache that is in use, as far as is known.
    pub fill: f64,
    /// Prompt tokens believed cached, of the requests that reported what really was.
    pub predicted_tokens: u64,
    /// Prompt tokens reported cached.
    pub reported_tokens: u64,
}
