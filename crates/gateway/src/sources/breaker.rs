//! A circuit breaker: whether a worker's latest answers are good enough to send it more requests.
//!
//! An outcome is the first byte of an answer, or that none came. The circuit *opens* when so many requests in a row fail, or a share of all
//! within the window; a worker that fails fast would otherwise look idle and draw everything to it. After a pause it is *half-open*: one
//! real request at a time is the trial. One that succeeds closes the circuit, one that fails opens it again, for twice as long.
//!
//! Time is an argument, so that all of it is tested in virtual time. The window is two halves of which the older is dropped, so its
//! length is between one half and both, and its memory is four numbers.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open the circuit: fewer happen to a good worker that restarts its connections.
const IN_A_ROW: u32 = 5;
/// Half of the window in which the share of failures is looked at.
const HALF_WINDOW: Duration = Duration::from_secs(5);
/// A share of fewer outcomes than this says nothing.
const FEWEST_OUTCOMES: u32 = 20;
/// The first pause, after which one request tries the worker again.
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

/// How one request to a worker went, as far as its worker is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The first byte came.
    Good,
    /// It did not, or it began an error of the worker's own.
    Bad,
    /// Nobody knows: the client left first, or the worker had no room.
    Unknown,
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
    /// A request is the trial of the half-open circuit.
    trial: bool,
}

/// Outcomes of the last while.
#[derive(Debug)]
struct Window {
    latest: Outcomes,
    before: Outcomes,
    began: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    all: u32,
    bad: u32,
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

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        (self.circuit == Circuit::Open).then_some(self.until)
    }

    /// The pause may be over.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.circuit == Circuit::Open && now >= self.until {
            self.circuit = Circuit::HalfOpen;
            self.trial = false;
        }
    }

    /// A request is sent to the worker; what it returns is to be given back with its outcome.
    pub(crate) fn begin(&mut self) -> Trial {
        let trial = self.circuit == Circuit::HalfOpen && !std::mem::replace(&mut self.trial, true);
        Trial(trial)
    }

    /// A request has begun to be answered, or is over without.
    pub(crate) fn end(&mut self, Trial(trial): Trial, outcome: Outcome, now: Instant) {
        if outcome != Outcome::Unknown {
            self.window.add(outcome, now);
            self.in_a_row = if outcome == Outcome::Bad { self.in_a_row.saturating_add(1) } else { 0 };
        }
        match (self.circuit, outcome) {
            (Circuit::Closed, Outcome::Bad) if self.in_a_row >= IN_A_ROW || self.window.fails() => {
                self.open(now)
            }
            (Circuit::HalfOpen, Outcome::Bad) if trial => {
                self.pause = (2 * self.pause).min(LONGEST_PAUSE);
                self.open(now);
            }
            // Any good answer says that the worker is back, even one that was sent before the pause or for want of anybody better.
            (Circuit::HalfOpen | Circuit::Open, Outcome::Good) => *self = Self::new(now),
            (Circuit::HalfOpen, Outcome::Unknown) if trial => self.trial = false,
            _ => {}
        }
    }

    fn open(&mut self, now: Instant) {
        self.circuit = Circuit::Open;
        self.until = now + self.pause;
        self.trial = false;
    }
}

/// Whether a request is the trial of a half-open circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trial(bool);

impl Window {
    fn new(now: Instant) -> Self {
        Self { latest: Outcomes::default(), before: Outcomes::default(), began: now }
    }

    fn add(&mut self, outcome: Outcome, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age >= HALF_WINDOW {
            self.before = if age < 2 * HALF_WINDOW { self.latest } else { Outcomes::default() };
            self.latest = Outcomes::default();
            self.began = now;
        }
        self.latest.all += 1;
        self.latest.bad += u32::from(outcome == Outcome::Bad);
    }

    /// Whether half of enough requests failed.
    fn fails(&self) -> bool {
        let (all, bad) = (self.latest.all + self.before.all, self.latest.bad + self.before.bad);
        all >= FEWEST_OUTCOMES && 2 * bad >= all
    }
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
            self.breaker.tick(self.now);
            self.breaker.circuit()
        }
    }

    use Outcome::{Bad, Good, Unknown};

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
    fn failures_of_long_ago_are_forgotten() {
        let mut world = World::new();
        world.outcomes(&[Bad, Good].repeat(9));
        world.after(2 * HALF_WINDOW);
        assert_eq!(world.outcomes(&[Good, Bad].repeat(9)), Circuit::Closed);
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
        assert_eq!(world.breaker.begin(), Trial(true));
    }

    #[test]
    fn late_failures_of_before_do_not_end_a_trial_and_late_answers_close_the_circuit() {
        let mut world = World::new();
        let before = world.breaker.begin();
        world.outcomes(&[Bad; 5]);
        world.after(FIRST_PAUSE);
        let _trial = world.breaker.begin();
        world.breaker.end(before, Bad, world.now);
        assert_eq!(world.breaker.circuit(), Circuit::HalfOpen);
        world.breaker.end(before, Good, world.now);
        assert_eq!(world.breaker.circuit(), Circuit::Closed);
    }
}
