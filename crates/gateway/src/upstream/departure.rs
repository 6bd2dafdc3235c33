//! Requests leave for a worker in the order in which it was decided that they go there.
//!
//! A decision counts on what was decided before it: this prompt will find what that one will have read by then. Connections know no
//! order, and where one is still being opened, or a thread is held up, a prompt would overtake the one that it counts on; each would
//! then find what was predicted for the other. The router numbers such decisions for each worker, so that one is missed before it has
//! even been handed on.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;
use warmroute_routing::Standing;

/// Longer than this nobody waits for those before: they have trouble of their own.
const PATIENCE: Duration = Duration::from_millis(100);

/// Those that are to leave for one worker and have not.
#[derive(Clone, Debug)]
pub(crate) struct Departures(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    left: watch::Sender<Left>,
    /// Tells this gateway's numbers from those of others.
    router: u64,
    /// How many have told the worker that they come.
    announced: AtomicU64,
}

/// Who has left, or will not.
#[derive(Debug, Default)]
struct Left {
    /// All before this one.
    before: u64,
    /// These as well, which come after it.
    ahead: BTreeSet<u64>,
}

impl Left {
    /// Notes one; whether others may have waited for it.
    fn note(&mut self, nth: u64) -> bool {
        if nth >= self.before {
            self.ahead.insert(nth);
        }
        let before = self.before;
        while self.ahead.remove(&self.before) {
            self.before += 1;
        }
        self.before > before
    }

    /// Those before `nth` are not waited for any more.
    fn pass_over(&mut self, nth: u64) {
        self.before = self.before.max(nth);
        self.ahead = self.ahead.split_off(&self.before);
    }
}

/// One request's place among them. Dropping it lets those behind go.
#[derive(Debug)]
pub(crate) struct Departure {
    standing: Standing,
    departures: Departures,
}

impl Default for Departures {
    fn default() -> Self {
        let router = Uuid::new_v4().as_u64_pair().0;
        Self(Arc::new(Shared { left: watch::Sender::default(), router, announced: AtomicU64::new(0) }))
    }
}

impl Departures {
    /// The place of a request whose decision stands so.
    pub(crate) fn place(&self, standing: Standing) -> Departure {
        Departure { standing, departures: self.clone() }
    }
}

impl Departure {
    /// Returns when all before have left, or do not leave. Dropping the future keeps the place.
    pub(super) async fn come(&self) {
        let left = &self.departures.0.left;
        let comes = |left: &Left| left.before >= self.standing.nth;
        if comes(&left.borrow()) {
            return;
        }
        if timeout(PATIENCE, left.subscribe().wait_for(comes)).await.is_err() {
            // Late is better than never.
            left.send_modify(|left| left.pass_over(self.standing.nth));
        }
    }

    /// Appends the line by which a worker that cares takes requests in the order in which they leave, and knows which of its evictions
    /// this one could not know. To be called once, on leaving.
    pub(super) fn announce(&self, into: &mut Vec<u8>) {
        let Some(heard) = self.standing.heard else { return };
        let Shared { router, announced, .. } = &*self.departures.0;
        let number = announced.fetch_add(1, Ordering::Relaxed);
        write!(into, "x-warmroute-departed: {router}.{number}.{heard}\r\n").expect("a Vec takes any bytes");
    }

    /// It has left.
    pub(super) fn leave(&self) {
        self.departures.0.left.send_if_modified(|left| left.note(self.standing.nth));
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;

    fn place(departures: &Departures, nth: u64) -> Departure {
        departures.place(Standing { nth, heard: None })
    }

    #[tokio::test]
    async fn each_leaves_after_those_that_were_decided_before_it_whenever_it_took_its_place() {
        let departures = Departures::default();
        let two = place(&departures, 2);
        assert!(two.come().now_or_never().is_none(), "two are decided and not even placed");
        let [zero, one] = [0, 1].map(|nth| place(&departures, nth));
        assert!(zero.come().now_or_never().is_some());
        assert!(one.come().now_or_never().is_none());
        zero.leave();
        assert!(one.come().now_or_never().is_some());
        assert!(two.come().now_or_never().is_none());
        drop(one);
        assert!(two.come().now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_gives_up_in_the_middle_lets_nobody_pass_those_before() {
        let departures = Departures::default();
        let [zero, one, two] = [0, 1, 2].map(|nth| place(&departures, nth));
        drop(one);
        assert!(two.come().now_or_never().is_none());
        tokio::join!(two.come(), async { zero.leave() });
    }

    #[test]
    fn those_that_leave_are_numbered_and_say_what_their_decision_knew() {
        let departures = Departures::default();
        let mut lines = Vec::new();
        for (nth, heard) in [(1, Some(40)), (2, None), (3, Some(42))] {
            departures.place(Standing { nth, heard }).announce(&mut lines);
        }
        let router = departures.0.router;
        let told = format!("x-warmroute-departed: {router}.0.40\r\nx-warmroute-departed: {router}.1.42\r\n");
        assert_eq!(lines, told.as_bytes());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long_and_for_the_same_one_only_once() {
        let departures = Departures::default();
        let [stuck, next, last] = [0, 1, 2].map(|nth| place(&departures, nth));
        let began = Instant::now();
        next.come().await;
        assert_eq!(began.elapsed(), PATIENCE);
        next.leave();
        assert!(last.come().now_or_never().is_some());
        drop(stuck);
        assert!(last.come().now_or_never().is_some());
        last.leave();
        assert!(departures.0.left.borrow().ahead.is_empty(), "nothing is kept of those that have left");
    }
}
