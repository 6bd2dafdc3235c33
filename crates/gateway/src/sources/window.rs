//! Outcomes of a worker's requests in the last while, and when they are too bad.
//!
//! The window is two halves of which the older is dropped, so its length is between one half and both, and its memory is four numbers.

use std::time::Duration;

use tokio::time::Instant;

/// Half of the window in which the share of failures is looked at.
const HALF: Duration = Duration::from_secs(5);
/// A share of fewer outcomes than this says nothing.
const FEWEST: u32 = 20;
/// So many failures single a worker out, if others have next to none.
const FEWEST_SINGLED_OUT: u32 = 2;
/// The share of failures that singles a worker out, one in so many.
const SHARE_SINGLED_OUT: u32 = 5;
/// What all others fail must be rarer by this factor, or the fault may be in what is asked.
const APART: u64 = 4;

/// How one request to a worker went, as far as its worker is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The first byte came.
    Good,
    /// It did not, or it began an error of the worker's own.
    Bad,
    /// Nothing came for as long as a request waits.
    Stalled,
    /// Nobody knows: the client left first, or the worker had no room.
    Unknown,
}

impl Outcome {
    /// Whether the worker is to blame.
    pub(crate) fn is_bad(self) -> bool {
        matches!(self, Self::Bad | Self::Stalled)
    }
}

/// Requests, and those of them that went badly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    all: u32,
    bad: u32,
}

/// Outcomes of the last while.
#[derive(Debug)]
pub(super) struct Window {
    latest: Outcomes,
    before: Outcomes,
    began: Instant,
}

impl std::ops::AddAssign for Outcomes {
    fn add_assign(&mut self, other: Self) {
        self.all = self.all.saturating_add(other.all);
        self.bad = self.bad.saturating_add(other.bad);
    }
}

impl Outcomes {
    /// Whether half of enough requests failed.
    pub(super) fn fail(self) -> bool {
        self.all >= FEWEST && u64::from(self.all) <= 2 * u64::from(self.bad)
    }

    /// Whether they are bad, and those of all `others` are not: then it is the worker, and not what it is asked.
    pub(super) fn stand_out(self, others: Self) -> bool {
        let often = self.bad >= FEWEST_SINGLED_OUT && self.all <= SHARE_SINGLED_OUT * self.bad;
        let rarer = APART * u64::from(others.bad) * u64::from(self.all)
            <= u64::from(self.bad) * u64::from(others.all);
        often && others.all >= FEWEST && rarer
    }
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self { latest: Outcomes::default(), before: Outcomes::default(), began: now }
    }

    /// One more.
    pub(super) fn add(&mut self, bad: bool, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age >= HALF {
            self.before = if age < 2 * HALF { self.latest } else { Outcomes::default() };
            self.latest = Outcomes::default();
            self.began = now;
        }
        self.latest += Outcomes { all: 1, bad: u32::from(bad) };
    }

    /// Those that are not forgotten by now.
    pub(super) fn outcomes(&self, now: Instant) -> Outcomes {
        let age = now.saturating_duration_since(self.began);
        let mut outcomes = if age < 2 * HALF { self.latest } else { Outcomes::default() };
        if age < HALF {
            outcomes += self.before;
        }
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_is_forgotten_half_by_half() {
        let start = Instant::now();
        let mut window = Window::new(start);
        window.add(true, start);
        window.add(false, start + HALF);
        let after = |halves: u32| window.outcomes(start + halves * HALF);
        assert_eq!(after(1), Outcomes { all: 2, bad: 1 });
        assert_eq!(after(2), Outcomes { all: 1, bad: 0 });
        assert_eq!(after(3), Outcomes::default());
    }

    #[test]
    fn a_worker_stands_out_whose_failures_others_do_not_share() {
        let own = |bad, all| Outcomes { all, bad };
        let well = own(0, 40);
        assert!(own(3, 10).stand_out(well));
        assert!(!own(1, 2).stand_out(well), "once is chance");
        assert!(!own(2, 11).stand_out(well), "this is not often");
        assert!(!own(3, 10).stand_out(own(0, 5)), "of others too little is known");
        assert!(own(4, 10).stand_out(own(10, 100)));
        assert!(!own(4, 10).stand_out(own(11, 100)), "who asks may be to blame: others fail as well");
    }
}
