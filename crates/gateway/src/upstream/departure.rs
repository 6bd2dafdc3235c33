//! Requests leave for a worker in the order in which it was decided that they go there.
//!
//! A decision counts on what was decided before it: this prompt will find what that one will have read by then. Connections know no
//! order, and where one is still being opened, or a thread is held up, a prompt would overtake the one that it counts on; each would
//! then find what was predicted for the other. Nobody is held up by it who would not wait for the other's prompt to be read anyway.

use std::mem;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than this nobody waits for those before: they have trouble of their own.
const PATIENCE: Duration = Duration::from_millis(50);

/// The order in which requests leave for one worker.
#[derive(Debug)]
pub(crate) struct Departures {
    /// Cancelled when the last of them has left.
    last: Mutex<CancellationToken>,
}

/// One request's place in that order. Dropping it lets those behind go.
#[derive(Debug)]
pub(crate) struct Departure {
    before: CancellationToken,
    gone: CancellationToken,
}

impl Default for Departures {
    fn default() -> Self {
        let nobody = CancellationToken::new();
        nobody.cancel();
        Self { last: Mutex::new(nobody) }
    }
}

impl Departures {
    /// The next place.
    pub(crate) fn next(&self) -> Departure {
        let gone = CancellationToken::new();
        let before = mem::replace(&mut *self.last.lock(), gone.clone());
        Departure { before, gone }
    }
}

impl Departure {
    /// Returns when the request before has left, or does not leave.
    pub(super) async fn come(&self) {
        if !self.before.is_cancelled() {
            // Late is better than never.
            let _ = timeout(PATIENCE, self.before.cancelled()).await;
        }
    }

    /// It has left.
    pub(super) fn leave(&self) {
        self.gone.cancel();
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
    async fn each_leaves_after_the_one_before_it() {
        let departures = Departures::default();
        let (one, two, three) = (departures.next(), departures.next(), departures.next());
        assert!(one.come().now_or_never().is_some());
        one.leave();
        assert!(
            two.come().now_or_never().is_some() && three.before.is_cancelled() == two.gone.is_cancelled()
        );
        drop(two);
        assert!(three.come().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long() {
        let departures = Departures::default();
        let (_stuck, next, began) = (departures.next(), departures.next(), Instant::now());
        next.come().await;
        assert_eq!(began.elapsed(), PATIENCE);
    }
}
