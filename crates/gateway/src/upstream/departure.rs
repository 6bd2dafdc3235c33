//! Requests leave for a worker in the order in which it was decided that they go there.
//!
//! A decision counts on what was decided before it: this prompt will find what that one will have read by then. Connections know no
//! order, and where one is still being opened, or a thread is held up, a prompt would overtake the one that it counts on; each would
//! then find what was predicted for the other. Bookings are numbered by the decisions, so their numbers are the order.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;
use warmroute_routing::BookingId;

/// Longer than this nobody waits for those before: they have trouble of their own.
const PATIENCE: Duration = Duration::from_millis(50);

/// Those that are to leave for one worker and have not.
#[derive(Clone, Debug)]
pub(crate) struct Departures(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    open: watch::Sender<BTreeSet<BookingId>>,
    /// Tells this gateway's numbers from those of others.
    router: u64,
    /// How many have left.
    left: AtomicU64,
}

/// One request's place among them. Dropping it lets those behind go.
#[derive(Debug)]
pub(crate) struct Departure {
    booking: BookingId,
    /// How many messages about the worker's cache its decision knew.
    heard: Option<u64>,
    departures: Departures,
}

impl Default for Departures {
    fn default() -> Self {
        let router = Uuid::new_v4().as_u64_pair().0;
        Self(Arc::new(Shared { open: watch::Sender::default(), router, left: AtomicU64::new(0) }))
    }
}

impl Departures {
    /// The place of the request of this booking, decided when so many messages had been `heard`.
    pub(crate) fn place(&self, booking: BookingId, heard: Option<u64>) -> Departure {
        // Nobody waits for somebody behind, so nobody is woken.
        self.0.open.send_if_modified(|open| {
            open.insert(booking);
            false
        });
        Departure { booking, heard, departures: self.clone() }
    }
}

impl Departure {
    /// Returns when all before have left, or do not leave. Dropping the future keeps the place.
    pub(super) async fn come(&self) {
        let comes = |open: &BTreeSet<BookingId>| open.first().is_none_or(|first| *first >= self.booking);
        if comes(&self.departures.0.open.borrow()) {
            return;
        }
        let mut open = self.departures.0.open.subscribe();
        // Late is better than never.
        let _ = timeout(PATIENCE, open.wait_for(comes)).await;
    }

    /// Appends the line by which a worker that cares takes requests in the order in which they leave, and knows which of its evictions
    /// this one could not know. To be called once, on leaving.
    pub(super) fn announce(&self, into: &mut Vec<u8>) {
        let Some(heard) = self.heard else { return };
        let Shared { router, left, .. } = &*self.departures.0;
        let number = left.fetch_add(1, Ordering::Relaxed);
        write!(into, "x-warmroute-departed: {router}.{number}.{heard}\r\n").expect("a Vec takes any bytes");
    }

    /// It has left.
    pub(super) fn leave(&self) {
        self.departures.0.open.send_if_modified(|open| {
            let was_first = open.first() == Some(&self.booking);
            open.remove(&self.booking);
            was_first
        });
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

    #[tokio::test]
    async fn each_leaves_after_those_that_were_decided_before_it_whenever_it_took_its_place() {
        let departures = Departures::default();
        let [three, one, two] = [3, 1, 2].map(|number| departures.place(BookingId(number), None));
        assert!(one.come().now_or_never().is_some());
        assert!(two.come().now_or_never().is_none());
        one.leave();
        assert!(two.come().now_or_never().is_some());
        assert!(three.come().now_or_never().is_none());
        drop(two);
        assert!(three.come().now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_gives_up_in_the_middle_lets_nobody_pass_those_before() {
        let departures = Departures::default();
        let [one, two, three] = [1, 2, 3].map(|number| departures.place(BookingId(number), None));
        drop(two);
        assert!(three.come().now_or_never().is_none());
        tokio::join!(three.come(), async { one.leave() });
    }

    #[test]
    fn those_that_leave_are_numbered_and_say_what_their_decision_knew() {
        let departures = Departures::default();
        let mut lines = Vec::new();
        for (number, heard) in [(1, Some(40)), (2, None), (3, Some(42))] {
            departures.place(BookingId(number), heard).announce(&mut lines);
        }
        let router = departures.0.router;
        let told = format!("x-warmroute-departed: {router}.0.40\r\nx-warmroute-departed: {router}.1.42\r\n");
        assert_eq!(lines, told.as_bytes());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long() {
        let departures = Departures::default();
        let [_stuck, next] = [1, 2].map(|number| departures.place(BookingId(number), None));
        let began = Instant::now();
        next.come().await;
        assert_eq!(began.elapsed(), PATIENCE);
    }
}
