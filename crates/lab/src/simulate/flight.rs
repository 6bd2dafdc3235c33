//! One request of a run, from its arrival to its end, as the simulator keeps it.

use warmroute_kv::Tokens;
use warmroute_routing::{BookingId, Time, WorkerId};

use crate::traffic::Ask;

/// Where in the traffic a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) session: usize,
    pub(super) turn: usize,
}

/// A request that was sent.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) place: Place,
    pub(super) ask: Ask,
    /// The gateway that took it, and what it booked there.
    pub(super) gateway: usize,
    pub(super) booking: Option<BookingId>,
    pub(super) worker: Option<WorkerId>,
    /// Where to go if the worker dies before the first token.
    pub(super) fallbacks: Vec<WorkerId>,
    pub(super) arrived: Time,
    pub(super) first: Option<Time>,
    pub(super) ended: Option<Time>,
    /// Whether its answer is complete.
    pub(super) answered: bool,
    /// Prompt tokens that the router believed to be cached.
    pub(super) predicted: Tokens,
    /// Prompt tokens that were.
    pub(super) cached: Tokens,
    /// Prompt tokens that a cache which never forgets would have held.
    pub(super) oracle: Tokens,
    /// Prompt tokens that one least-recently-used cache of the fleet's size would have held.
    pub(super) one_lru: Tokens,
}

impl Flight {
    /// A request that arrives now.
    pub(super) fn new(place: Place, ask: Ask, arrived: Time) -> Self {
        Self {
            place,
            ask,
            gateway: 0,
            booking: None,
            worker: None,
            fallbacks: Vec::new(),
            arrived,
            first: None,
            ended: None,
            answered: false,
            predicted: Tokens::ZERO,
            cached: Tokens::ZERO,
            oracle: Tokens::ZERO,
            one_lru: Tokens::ZERO,
        }
    }

    /// Seconds to the first token.
    pub(super) fn ttft_s(&self) -> Option<f64> {
        self.first.map(|first| first.since(self.arrived).as_secs_f64())
    }

    /// Seconds to the last token, for a complete answer.
    pub(super) fn e2e_s(&self) -> Option<f64> {
        self.ended.filter(|_| self.answered).map(|ended| ended.since(self.arrived).as_secs_f64())
    }

    /// Seconds per token after the first, for a complete answer of more than one.
    pub(super) fn tpot_s(&self) -> Option<f64> {
        let further = self.ask.output.0.checked_sub(1).filter(|further| *further > 0)?;
        let (first, ended) = (self.first?, self.ended.filter(|_| self.answered)?);
        Some(ended.since(first).as_secs_f64() / f64::from(further))
    }
}
