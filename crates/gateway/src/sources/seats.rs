//! How many requests a worker takes at once: what the settings say, else what its own refusals teach.
//!
//! An engine that answers 429 has told how many it takes: those that were there, without the one it refused. It may have been wrong to
//! take that for ever, since it may have been short of memory just then: the number grows again while no refusal comes, and is
//! forgotten soon after. Time is an argument.

use std::time::Duration;

use tokio::time::Instant;
use warmroute_routing::Event;

use super::Worker;
use crate::core::Core;

/// How often what was learned grows by a tenth.
const GROWS_EVERY: Duration = Duration::from_secs(1);
/// What was learned is forgotten after so long without a refusal.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// The seats of one worker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seats {
    set: Option<u32>,
    learned: Option<Learned>,
}

#[derive(Clone, Copy, Debug)]
struct Learned {
    seats: u32,
    refused: Instant,
    grown: Instant,
}

impl Seats {
    /// As many as are set; `None` leaves it to be learned.
    pub(crate) fn set(&mut self, seats: Option<u32>) {
        *self = Self { set: seats, learned: if seats.is_some() { None } else { self.learned } };
    }

    /// How many there are, as far as is known.
    pub(crate) fn count(&self) -> Option<u32> {
        self.set.or(self.learned.map(|learned| learned.seats))
    }

    /// The worker refused one of `in_flight` requests.
    pub(crate) fn refused(&mut self, in_flight: u32, now: Instant) {
        let room = in_flight.saturating_sub(1).max(1);
        let seats = self.learned.map_or(room, |learned| learned.seats.min(room));
        self.learned = Some(Learned { seats, refused: now, grown: now });
    }

    /// Lets what was learned grow, or go.
    pub(crate) fn tick(&mut self, now: Instant) {
        let Some(learned) = &mut self.learned else { return };
        if now.saturating_duration_since(learned.refused) >= FORGOTTEN_AFTER {
            self.learned = None;
        } else if now.saturating_duration_since(learned.grown) >= GROWS_EVERY {
            learned.seats = learned.seats.saturating_add(1 + learned.seats / 10);
            learned.grown = now;
        }
    }
}

impl Worker {
    /// It refused a request for want of room.
    pub(crate) fn refused(&self, core: &Core) {
        let in_flight = core.in_flight_at(self.id);
        self.change_seats(core, |seats| seats.refused(in_flight, Instant::now()));
    }

    /// Its seats are those of its own settings, else of everybody's, else those that are learned. Called now and then.
    pub(super) fn renew_seats(&self, core: &Core, everybody: Option<u32>) {
        let set = self.own_seats().or(everybody);
        self.change_seats(core, |seats| {
            seats.set(set);
            seats.tick(Instant::now());
        });
    }

    /// The router is told under the lock, so that it knows what was decided last.
    fn change_seats(&self, core: &Core, change: impl FnOnce(&mut Seats)) {
        let mut seats = self.seats.lock();
        let before = seats.count();
        change(&mut seats);
        if seats.count() != before {
            core.observe(Event::Seated { worker: self.id, seats: seats.count() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_how_many_there_are_and_a_higher_count_says_nothing_new() {
        let (mut seats, now) = (Seats::default(), Instant::now());
        assert_eq!(seats.count(), None);
        seats.refused(33, now);
        assert_eq!(seats.count(), Some(32));
        seats.refused(40, now);
        assert_eq!(seats.count(), Some(32));
        seats.refused(1, now);
        assert_eq!(seats.count(), Some(1), "a worker that takes nothing is still asked, one at a time");
    }

    #[test]
    fn what_was_learned_grows_and_is_forgotten_when_no_refusal_comes() {
        let (mut seats, start) = (Seats::default(), Instant::now());
        seats.refused(21, start);
        let after = |seats: &mut Seats, s| {
            seats.tick(start + Duration::from_secs(s));
            seats.count()
        };
        assert_eq!([0, 1, 2, 3].map(|s| after(&mut seats, s)), [Some(20), Some(23), Some(26), Some(29)]);
        assert_eq!(after(&mut seats, 10), None);
    }

    #[test]
    fn what_is_set_counts() {
        let mut seats = Seats::default();
        seats.set(Some(8));
        seats.refused(3, Instant::now());
        assert_eq!(seats.count(), Some(8));
        seats.set(None);
        assert_eq!(seats.count(), None.or(Some(2)));
    }
}
