//! Faults on purpose: which rules are in force, and whom they strike.
//!
//! The chance is seeded and drawn once for each rule and each one it could befall, in order, so that one connection after the
//! other meets the same faults in every run. With no rule in force a request pays for one relaxed load.

mod registry;
mod rule;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use warmroute_kv::BlockHash;

pub use self::registry::{Effect, FAULTS, FaultInfo, fault};
pub use self::rule::{BadRule, FaultRule};
use crate::line::Cut;

/// How much later a slow answer begins, if nobody says.
const USUAL_DELAY: Duration = Duration::from_secs(1);

/// Rules in force at most: more are a script gone wild.
const MOST_RULES: usize = 64;

/// The rules in force. Shared by all connections of a worker.
#[derive(Debug)]
pub struct Faults {
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rules: Vec<InForce>,
    /// The last draw.
    chance: BlockHash,
}

/// A rule that was given.
#[derive(Clone, Debug)]
pub struct InForce {
    /// As it was given.
    pub rule: FaultRule,
    /// How often it has struck.
    pub struck: u64,
    until: Option<Instant>,
}

/// What strikes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    HangUp,
    Stall(Option<Duration>),
    Status(u16),
    Slow(Duration),
    Unready,
    Midway(Interruption),
}

/// What happens to an answer after its first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interruption {
    Stall(Option<Duration>),
    Reset,
}

impl Faults {
    /// No faults but these.
    pub(super) fn new(rules: &[FaultRule], seed: u64) -> Self {
        let state = State { rules: Vec::new(), chance: BlockHash(seed) };
        let faults = Self { any: AtomicBool::new(false), state: Mutex::new(state) };
        rules.iter().for_each(|rule| faults.add(rule.clone()));
        faults
    }

    /// Puts a rule in force, beside those that are; the first that strikes counts. Beyond 64 the oldest is dropped.
    pub fn add(&self, rule: FaultRule) {
        let state = &mut *self.state.lock();
        if state.rules.len() == MOST_RULES {
            state.rules.remove(0);
        }
        let until = rule.lasts.map(|time| Instant::now() + time);
        state.rules.push(InForce { rule, struck: 0, until });
        self.any.store(true, Ordering::Relaxed);
    }

    /// All is well from now on.
    pub fn clear(&self) {
        self.state.lock().rules.clear();
        self.any.store(false, Ordering::Relaxed);
    }

    /// The rules that were given since the last clearing, those that are spent too.
    pub fn in_force(&self) -> Vec<InForce> {
        self.state.lock().rules.clone()
    }

    /// Whether a new connection is to be refused.
    pub(super) fn refuses(&self) -> bool {
        self.strike(|effect| effect == Effect::Refuse).is_some()
    }

    /// Whether a health check is to be told that the worker is not ready.
    pub(super) fn unready(&self) -> bool {
        self.strike(|effect| effect == Effect::Unready).is_some()
    }

    /// What strikes the next request.
    pub(super) fn at_request(&self) -> Option<Strike> {
        let rule = self.strike(|effect| effect != Effect::Refuse)?;
        Some(match rule.fault.effect {
            Effect::Refuse | Effect::HangUp => Strike::HangUp,
            Effect::Stall => Strike::Stall(rule.delay),
            Effect::Status(status) => Strike::Status(status),
            Effect::Slow => Strike::Slow(rule.delay.unwrap_or(USUAL_DELAY)),
            Effect::Unready => Strike::Unready,
            Effect::StallMidway => Strike::Midway(Interruption::Stall(rule.delay)),
            Effect::ResetMidway => Strike::Midway(Interruption::Reset),
        })
    }

    fn strike(&self, at_stake: impl Fn(Effect) -> bool) -> Option<FaultRule> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let State { rules, chance } = &mut *self.state.lock();
        let now = Instant::now();
        let mut possible =
            rules.iter_mut().filter(|one| at_stake(one.rule.fault.effect) && one.is_alive(now));
        let struck = possible.find(|one| draw(chance) < one.rule.probability)?;
        struck.struck += 1;
        Some(struck.rule.clone())
    }
}

impl InForce {
    fn is_alive(&self, now: Instant) -> bool {
        self.rule.next.is_none_or(|next| self.struck < next) && self.until.is_none_or(|until| now < until)
    }
}

/// A uniform number from 0 up to but without 1.
fn draw(chance: &mut BlockHash) -> f64 {
    *chance = chance.next_text(b"draw");
    // The upper 53 bits are as many as an f64 holds.
    (chance.0 >> 11) as f64 / (1_u64 << 53) as f64
}

/// Waits that long, or for ever.
pub(super) async fn stall(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

impl Interruption {
    /// Whether the answer ends with it.
    pub(super) fn breaks(self) -> bool {
        self == Self::Reset
    }

    /// Happens.
    pub(super) async fn befall(self, cut: &Cut) {
        match self {
            Self::Stall(time) => stall(time).await,
            Self::Reset => {
                // Once around, so that what was sent before is on its way: a reset takes back what still waits here.
                tokio::task::yield_now().await;
                cut.reset();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(rules: &[&str], seed: u64, requests: usize) -> Vec<Option<Strike>> {
        let rules: Vec<FaultRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let faults = Faults::new(&rules, seed);
        (0..requests).map(|_| faults.at_request()).collect()
    }

    #[test]
    fn a_fault_of_the_next_requests_ends_with_them() {
        let struck = strikes(&["status_500:next=2", "hang_up:next=1"], 1, 4);
        let (error, hang_up) = (Some(Strike::Status(500)), Some(Strike::HangUp));
        assert_eq!(struck, [error, error, hang_up, None]);
    }

    #[test]
    fn a_likely_fault_strikes_about_as_often_as_it_says_and_the_same_with_the_same_seed() {
        let struck = strikes(&["stall:p=0.2"], 7, 10_000);
        assert_eq!(struck, strikes(&["stall:p=0.2"], 7, 10_000));
        let count = struck.iter().flatten().count();
        assert!((1_850..2_150).contains(&count), "{count} of 10,000");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_with_a_time_ends_with_it() {
        let faults = Faults::new(&["unready:seconds=5".parse().unwrap()], 1);
        assert!(faults.unready());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(!faults.unready());
    }

    #[test]
    fn connections_and_requests_have_their_own_faults() {
        let faults = Faults::new(&["refuse:next=1".parse().unwrap()], 1);
        assert_eq!((faults.at_request(), faults.refuses(), faults.refuses()), (None, true, false));
    }
}
