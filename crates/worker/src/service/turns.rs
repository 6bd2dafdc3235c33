//! Prompts reach the engine in the order in which they came, however long each takes to tokenize.
//!
//! A router knows what a prompt will find from what it sent before it. Were a short prompt tokenized beside a long one with the
//! same beginning to overtake it, it would read that beginning itself, and whoever predicted that it need not would be wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than this nobody waits for those before: 2 MB of text are tokenized in it.
const PATIENCE: Duration = Duration::from_millis(250);

/// The order of all prompts that have come and are not in the engine yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<watch::Sender<Open>>);

/// Numbers given out and not given back.
#[derive(Debug, Default)]
struct Open {
    next: u64,
    numbers: BTreeSet<u64>,
}

/// One prompt's place in the order. Dropping it lets those behind it go on.
#[derive(Debug)]
pub(super) struct Turn {
    /// When it came.
    pub(super) since: Instant,
    /// Its place.
    pub(super) number: u64,
    turns: Turns,
}

impl Turns {
    /// The next place in the order, for a prompt that has come just now.
    pub(super) fn take(&self) -> Turn {
        let mut number = 0;
        // Nobody waits for somebody behind, so nobody is woken.
        self.0.send_if_modified(|open| {
            number = open.next;
            open.next += 1;
            open.numbers.insert(number);
            false
        });
        Turn { since: Instant::now(), number, turns: self.clone() }
    }
}

impl Turn {
    /// Returns once everybody before has been dropped, or takes too long. Dropping the future keeps the place.
    pub(super) async fn come(&self) {
        let mut open = self.turns.0.subscribe();
        let first = open.wait_for(|open| open.numbers.first().is_none_or(|first| *first >= self.number));
        let _ = timeout(PATIENCE, first).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.send_if_modified(|open| {
            let was_first = open.numbers.first() == Some(&self.number);
            open.numbers.remove(&self.number);
            was_first
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_first_goes_at_once_and_the_others_after_it() {
        let turns = Turns::default();
        let (one, two, three) = (turns.take(), turns.take(), turns.take());
        assert!(one.come().now_or_never().is_some());
        assert!(two.come().now_or_never().is_none());
        drop(one);
        assert!(two.come().now_or_never().is_some());
        assert!(three.come().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_gives_up_in_the_middle_lets_nobody_pass_those_before() {
        let turns = Turns::default();
        let (one, two, three) = (turns.take(), turns.take(), turns.take());
        drop(two);
        assert!(three.come().now_or_never().is_none());
        tokio::join!(three.come(), async { drop(one) });
    }
}
