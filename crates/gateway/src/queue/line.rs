//! Who is next: the line of waiting requests, ordered by priority, then by what each key has had, then by arrival.
//!
//! Higher priority goes first, and a level is gained by every [`AGING`] of waiting, so that nobody starves. Among equals the key goes first
//! that has had the least: every key has a virtual time that advances by the uncached tokens of what it is served (start-time fair
//! queueing, Goyal, Vin and Cheng 1996), and one that comes anew begins at the present, so that it cannot save up. A request that is
//! *called* stays in line until it is served or gives up, for it may find that there is no room after all.
//!
//! Pure: time is an argument, nothing waits here. A call costs a look at the first of every key and priority.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Waiting so long counts as much as one level of priority: from the lowest level to above the highest within the default deadline.
pub(super) const AGING: Duration = Duration::from_secs(2);

/// A level of priority; higher goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Priority(i8);

impl Priority {
    /// The highest level, and the lowest below zero. Few, or aging would take longer than clients wait.
    pub(crate) const MOST: i8 = 4;

    /// This level, or the nearest there is.
    pub(crate) fn new(level: i64) -> Self {
        Self(level.clamp(-i64::from(Self::MOST), i64::from(Self::MOST)) as i8)
    }
}

/// A place in line. Those who came later have a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(u64);

/// Whose request it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asker {
    pub(crate) priority: Priority,
    /// The name of the client's key; all without one are one.
    pub(crate) key: Arc<str>,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    since: Instant,
    called: bool,
}

/// The line.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// In order of their tickets; none is empty.
    waiting: BTreeMap<Asker, VecDeque<Waiter>>,
    askers: HashMap<Ticket, Asker>,
    /// Where each key's virtual time is, in tokens.
    had: HashMap<Arc<str>, f64>,
    /// The virtual time of whoever was served last.
    present: f64,
    next: u64,
}

impl Line {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.askers.len()
    }

    /// Somebody comes.
    pub(super) fn enter(&mut self, asker: Asker, now: Instant) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        let waiter = Waiter { ticket, since: now, called: false };
        self.waiting.entry(asker.clone()).or_default().push_back(waiter);
        self.askers.insert(ticket, asker);
        ticket
    }

    /// Calls whoever is next of those that were not called yet.
    pub(super) fn call(&mut self, now: Instant) -> Option<Ticket> {
        let first = |(asker, waiters): (&Asker, &VecDeque<Waiter>)| {
            let first = waiters.iter().find(|waiter| !waiter.called)?;
            Some((self.rank(asker, first, now), first.ticket))
        };
        let (_, ticket) =
            self.waiting.iter().filter_map(first).max_by(|(one, one_ticket), (two, two_ticket)| {
                one.cmp(two).then(two_ticket.cmp(one_ticket))
            })?;
        self.waiter(ticket)?.called = true;
        Some(ticket)
    }

    /// Who was called found no room, and waits on where it was.
    pub(super) fn wait_on(&mut self, ticket: Ticket) {
        if let Some(waiter) = self.waiter(ticket) {
            waiter.called = false;
        }
    }

    /// Takes somebody out of the line; says whether it had been called.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<bool> {
        let asker = self.askers.remove(&ticket)?;
        let waiters = self.waiting.get_mut(&asker)?;
        let place = waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()?;
        let called = waiters.remove(place)?.called;
        if waiters.is_empty() {
            self.waiting.remove(&asker);
        }
        if self.askers.is_empty() {
            // Nobody waits, so nobody is owed anything.
            self.had.clear();
            self.present = 0.0;
        }
        Some(called)
    }

    /// Who was called is served, at the cost of so many tokens.
    pub(super) fn serve(&mut self, ticket: Ticket, tokens: u32) {
        if let Some(asker) = self.askers.get(&ticket) {
            let start = self.start(&asker.key);
            self.had.insert(Arc::clone(&asker.key), start + f64::from(tokens.max(1)));
            self.present = start.max(self.present);
            self.had.retain(|_, had| *had > self.present);
        }
        self.leave(ticket);
    }

    /// Where in virtual time a key's next request begins.
    fn start(&self, key: &Arc<str>) -> f64 {
        self.had.get(key).copied().unwrap_or(0.0).max(self.present)
    }

    /// The greatest is next.
    fn rank(&self, asker: &Asker, waiter: &Waiter, now: Instant) -> Rank {
        let waited = now.saturating_duration_since(waiter.since);
        let gained = (waited.as_millis() / AGING.as_millis()) as i64;
        Rank { level: i64::from(asker.priority.0) + gained, start: self.start(&asker.key) }
    }

    fn waiter(&mut self, ticket: Ticket) -> Option<&mut Waiter> {
        let waiters = self.waiting.get_mut(self.askers.get(&ticket)?)?;
        let place = waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()?;
        waiters.get_mut(place)
    }
}

/// What decides between two, but for their arrival.
struct Rank {
    level: i64,
    start: f64,
}

impl Rank {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.level.cmp(&other.level).then(other.start.total_cmp(&self.start))
    }
}
