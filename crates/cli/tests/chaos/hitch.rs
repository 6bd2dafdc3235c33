//! Moments in which the machine did not run us: what takes long then says nothing about the gateway.
//!
//! A thread of its own, in no runtime, so that whatever keeps the gateway's threads busy does not hide behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

/// How often it looks at the clock.
const STEP: Duration = Duration::from_millis(2);
/// Later than this by so much, it has not been run.
const LATE: Duration = Duration::from_millis(10);
/// What has queued up meanwhile takes a while to be done.
const AFTERMATH: Duration = Duration::from_millis(50);

/// Looks for such moments until it is told to end.
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, Instant)>>,
}

/// When the machine did not run us, in order.
pub(crate) struct Hitches(Vec<(Instant, Instant)>);

impl Watch {
    pub(crate) fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let (mut hitches, mut before) = (Vec::new(), Instant::now());
            while !seen.load(Ordering::Relaxed) {
                std::thread::sleep(STEP);
                let now = Instant::now();
                if now - before > STEP + LATE {
                    hitches.push((before, now + AFTERMATH));
                }
                before = now;
            }
            hitches
        });
        Self { over, thread }
    }

    pub(crate) fn end(self) -> Hitches {
        self.over.store(true, Ordering::Relaxed);
        Hitches(self.thread.join().unwrap())
    }
}

impl Hitches {
    /// What of the time between these two was lost to them.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Duration {
        let first = self.0.partition_point(|(_, end)| *end <= from);
        let touched = self.0[first..].iter().take_while(|(begin, _)| *begin < to);
        // One begins before another's aftermath is over: what both have counts once.
        let (mut lost, mut counted) = (Duration::ZERO, from);
        for (begin, end) in touched {
            let (begin, end) = ((*begin).max(counted), (*end).min(to));
            lost += end.saturating_duration_since(begin);
            counted = counted.max(end);
        }
        lost
    }

    /// How much time was lost in all.
    pub(crate) fn all(&self) -> Duration {
        let ends = self.0.first().zip(self.0.last());
        ends.map_or(Duration::ZERO, |(first, last)| self.between(first.0, last.1))
    }
}
