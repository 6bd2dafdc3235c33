//! A circuit breaker: whether a worker's latest answers are good enough to send it more requests.
//!
//! An outcome is the first byte of an answer, or that none came. The circuit *opens* when so many requests in a row fail, or a share of all
//! within the [`window`](super::window), a smaller one where all other workers do well; a worker that fails fast would otherwise look idle
//! and draw everything to it. After a pause it is tried out: by requests of our own ([`trial`](super::trial)), so that no client
//! pays for it, or where these can tell nothing by one real request at a time, which is *half-open*. A trial that succeeds closes the
//! circuit, one that fails leaves it open for twice as long; so does failing again soon after. A request that waited in vain for
//! as long as it may has cost its client dearly: the first of them is doubt enough to try the worker out without a pause.
//!
//! Time is an argument, so that all of it is tested in virtual time.

use std::time::Duration;

use tokio::time::Instant;

use super::window::{Outcome, Outcomes, Window};

/// Failures in a row that open the circuit: fewer happen to a good worker that restarts its connections.
pub(super) const IN_A_ROW: u32 = 5;
/// The first pause, after which the worker is tried out.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: what a worker that came back loses at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether requests are sent to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Circuit {
    /// As usual.
    Closed,
    /// One at a time, for a trial.
    HalfOpen,
    /// None, unless all workers are so.
    Open,
}

impl Circuit {
    /// The word for it in the admin API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// The breaker of one worker.
#[derive(Debug)]
pub(crate) struct Breaker {
    circuit: Circuit,
    in_a_row: u32,
    window: Window,
    pause: Duration,
    /// When the present pause ends.
    until: Instant,
    /// When the circuit was closed after it had been open.
    closed: Option<Instant>,
    /// How often it was opened.
    openings: u32,
    /// A request is the trial of the half-open circuit.
    trial: bool,
}

impl Breaker {
    /// A closed circuit.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            circuit: Circuit::Closed,
            in_a_row: 0,
            window: Window::new(now),
            pause: FIRST_PAUSE,
            until: now,
            closed: None,
            openings: 0,
            trial: false,
        }
    }

    /// How it stands.
    pub(crate) fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// Whether the worker is to be spared: it fails, and its trial is not due or under way.
    pub(crate) fn spares(&self) -> bool {
        match self.circuit {
            Circuit::Closed => false,
            Circuit::HalfOpen => self.trial,
            Circuit::Open => true,
        }
    }

    /// When its worker is to be tried out.
    pub(crate) fn due(&self) -> Option<Instant> {
        (self.circuit == Circuit::Open).then_some(self.until)
    }

    /// The worker was tried out, the pause being over. If nobody knows how that went, requests are to tell.
    pub(crate) fn tried(&mut self, outcome: Outcome, now: Instant) {
        if self.circuit != Circuit::Open || now < self.until {
            return;
        }
        match outcome {
            Outcome::Good => self.close(now),
            Outcome::Bad | Outcome::Stalled => self.open_for_longer(now),
            Outcome::Unknown => (self.circuit, self.trial) = (Circuit::HalfOpen, false),
        }
    }

    /// A request is sent to the worker; what it returns is to be given back with its outcome.
    pub(crate) fn begin(&mut self) -> Begun {
        let trial = self.circuit == Circuit::HalfOpen && !std::mem::replace(&mut self.trial, true);
        Begun { trial, openings: self.openings }
    }

    /// A request has begun to be answered, or is over without.
    pub(crate) fn end(&mut self, begun: Begun, outcome: Outcome, now: Instant) {
        if outcome != Outcome::Unknown {
            let bad = outcome.is_bad();
            self.window.add(bad, now);
            self.in_a_row = if bad { self.in_a_row.saturating_add(1) } else { 0 };
        }
        let fails = || self.in_a_row >= IN_A_ROW || self.window.outcomes(now).fail();
        match (self.circuit, outcome) {
            (Circuit::Closed, Outcome::Bad) if fails() => self.open(now),
            // Those that waited beside one that had the worker tried out say nothing new.
            (Circuit::Closed, Outcome::Stalled) if begun.openings == self.openings => self.doubt(now),
            (Circuit::HalfOpen, Outcome::Bad | Outcome::Stalled) if begun.trial => self.open_for_longer(now),
            // An answer says that the worker is back, even one that was asked for want of anybody better; not one that was asked before,
            // since where only some fail others still succeed.
            (Circuit::HalfOpen | Circuit::Open, Outcome::Good) if begun.openings == self.openings => {
                self.close(now);
            }
            (Circuit::HalfOpen, Outcome::Unknown) if begun.trial => self.trial = false,
            _ => {}
        }
    }

    /// The latest outcomes.
    pub(crate) fn outcomes(&self, now: Instant) -> Outcomes {
        self.window.outcomes(now)
    }

    /// The latest outcomes of all other workers are these.
    pub(crate) fn compare(&mut self, others: Outcomes, now: Instant) {
        if self.circuit == Circuit::Closed && self.window.outcomes(now).stand_out(others) {
            self.open(now);
        }
    }

    fn open(&mut self, now: Instant) {
        if self.is_back_for_long(now) {
            self.pause = FIRST_PAUSE / 2;
        }
        self.open_for_longer(now);
    }

    /// Opens the circuit until it has been tried out, which is due at once if it was not open lately.
    fn doubt(&mut self, now: Instant) {
        let at_once = self.is_back_for_long(now);
        self.open(now);
        if at_once {
            (self.pause, self.until) = (FIRST_PAUSE / 2, now);
        }
    }

    fn is_back_for_long(&self, now: Instant) -> bool {
        self.closed.is_none_or(|closed| now.saturating_duration_since(closed) >= LONGEST_PAUSE)
    }

    fn open_for_longer(&mut self, now: Instant) {
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        self.circuit = Circuit::Open;
        self.until = now + self.pause;
        self.openings = self.openings.wrapping_add(1);
        self.trial = false;
    }

    fn close(&mut self, now: Instant) {
        let Self { pause, openings, .. } = *self;
        *self = Self { pause, openings, closed: Some(now), ..Self::new(now) };
    }
}

/// What is to be remembered of a request until its outcome is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// It is the trial of a half-open circuit.
    trial: bool,
    /// How often the circuit had been opened by then.
    openings: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A breaker and a clock that stands still until it is told.
    struct World {
        breaker: Breaker,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::now();
            Self { breaker: Breaker::new(now), now }
        }

        fn outcomes(&mut self, outcomes: &[Outcome]) -> Circuit {
            for outcome in outcomes {
                let trial = self.breaker.begin();
                self.breaker.end(trial, *outcome, self.now);
            }
            self.breaker.circuit()
        }

        fn after(&mut self, time: Duration) -> Circuit {
            self.now += time;
            if self.breaker.due().is_some_and(|due| due <= self.now) {
                self.breaker.tried(Unknown, self.now);
            }
            self.breaker.circuit()
        }
    }

    use Outcome::{Bad, Good, Stalled, Unknown};

    #[test]
    fn failures_in_a_row_open_it_and_one_good_answer_in_between_does_not() {
        let mut world = World::new();
        assert_eq!(world.outcomes(&[Bad, Bad, Bad, Bad, Good, Bad, Bad, Bad, Bad]), Circuit::Closed);
        assert_eq!(world.outcomes(&[Bad]), Circuit::Open);
        assert!(world.breaker.spares());
    }

    #[test]
    fn a_share_of_failures_opens_it_though_never_many_come_in_a_row() {
        let mut world = World::new();
        assert_eq!(world.outcomes(&[Good, Bad].repeat(9)), Circuit::Closed, "too few to say");
        assert_eq!(world.outcomes(&[Good, Bad]), Circuit::Open);
    }

    #[test]
    fn failures_that_no_other_worker_shares_open_it_early() {
        let mut world = World::new();
        world.outcomes(&[Good, Good, Bad].repeat(3));
        let mut others = Breaker::new(world.now);
        (0..40).for_each(|_| {
            let begun = others.begin();
            others.end(begun, Good, world.now);
        });
        world.breaker.compare(others.outcomes(world.now), world.now);
        assert_eq!(world.breaker.circuit(), Circuit::Open);
    }

    #[test]
    fn a_trial_of_our_own_closes_it_or_leaves_it_open_for_twice_as_long() {
        let mut world = World::new();
        world.outcomes(&[Bad; 5]);
        world.breaker.tried(Good, world.now);
        assert_eq!(world.breaker.circuit(), Circuit::Open, "it is too early");
        world.now += FIRST_PAUSE;
        world.breaker.tried(Bad, world.now);
        assert_eq!(world.breaker.due(), Some(world.now + 2 * FIRST_PAUSE));
        world.now += 2 * FIRST_PAUSE;
        world.breaker.tried(Good, world.now);
        assert_eq!(world.breaker.circuit(), Circuit::Closed);
    }

    #[test]
    fn a_request_that_waited_in_vain_has_the_worker_tried_out_at_once_and_again_soon_after_a_pause() {
        let mut world = World::new();
        assert_eq!(world.outcomes(&[Good, Good, Stalled]), Circuit::Open);
        assert_eq!(world.breaker.due(), Some(world.now));
        world.breaker.tried(Good, world.now);
        assert_eq!(world.breaker.circuit(), Circuit::Closed);
        world.outcomes(&[Good, Stalled]);
        assert_eq!(world.breaker.due(), Some(world.now + FIRST_PAUSE));
    }

    #[test]
    fn requests_that_waited_beside_the_first_do_not_open_it_again() {
        let mut world = World::new();
        let [first, beside] = [world.breaker.begin(), world.breaker.begin()];
        world.breaker.end(first, Stalled, world.now);
        world.breaker.tried(Good, world.now);
        world.breaker.end(beside, Stalled, world.now);
        assert_eq!(world.breaker.circuit(), Circuit::Closed);
    }

    #[test]
    fn failing_again_soon_doubles_the_pause_and_later_does_not() {
        let mut world = World::new();
        let opens = |world: &mut World| {
            world.outcomes(&[Bad; 5]);
            world.breaker.due().map(|due| due - world.now)
        };
        assert_eq!(opens(&mut world), Some(FIRST_PAUSE));
        world.now += FIRST_PAUSE;
        world.breaker.tried(Good, world.now);
        assert_eq!(opens(&mut world), Some(2 * FIRST_PAUSE));
        world.now += 2 * FIRST_PAUSE;
        world.breaker.tried(Good, world.now);
        world.now += LONGEST_PAUSE;
        assert_eq!(opens(&mut world), Some(FIRST_PAUSE));
    }

    #[test]
    fn after_the_pause_one_request_is_the_trial_and_closes_it() {
        let mut world = World::new();
        world.outcomes(&[Bad; 5]);
        assert_eq!(world.after(FIRST_PAUSE - Duration::from_millis(1)), Circuit::Open);
        assert_eq!(world.after(Duration::from_millis(1)), Circuit::HalfOpen);
        assert!(!world.breaker.spares());
        let trial = world.breaker.begin();
        assert!(world.breaker.spares(), "one at a time");
        world.breaker.end(trial, Good, world.now);
        assert_eq!((world.breaker.circuit(), world.breaker.spares()), (Circuit::Closed, false));
    }

    #[test]
    fn a_trial_that_fails_doubles_the_pause_up_to_a_bound() {
        let mut world = World::new();
        world.outcomes(&[Bad; 5]);
        let mut pause = FIRST_PAUSE;
        for _ in 0..10 {
            assert_eq!(world.after(pause), Circuit::HalfOpen);
            assert_eq!(world.outcomes(&[Bad]), Circuit::Open);
            pause = (2 * pause).min(LONGEST_PAUSE);
            assert_eq!(world.breaker.due(), Some(world.now + pause));
        }
    }

    #[test]
    fn a_trial_of_which_nobody_knows_makes_room_for_another() {
        let mut world = World::new();
        world.outcomes(&[Bad; 5]);
        world.after(FIRST_PAUSE);
        let trial = world.breaker.begin();
        world.breaker.end(trial, Unknown, world.now);
        assert!(!world.breaker.spares());
        assert!(world.breaker.begin().trial);
    }

    #[test]
    fn what_was_asked_before_neither_ends_a_trial_nor_closes_the_circuit() {
        let mut world = World::new();
        let before = world.breaker.begin();
        world.outcomes(&[Bad; 5]);
        world.breaker.end(before, Good, world.now);
        assert_eq!(world.breaker.circuit(), Circuit::Open);
        let for_want_of_others = world.breaker.begin();
        world.after(FIRST_PAUSE);
        let _trial = world.breaker.begin();
        world.breaker.end(before, Bad, world.now);
        assert_eq!(world.breaker.circuit(), Circuit::HalfOpen);
        world.breaker.end(for_want_of_others, Good, world.now);
        assert_eq!(world.breaker.circuit(), Circuit::Closed);
    }
}
