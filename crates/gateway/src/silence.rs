//! The timer of one client's connection, by which hyper notices that a client says nothing.
//!
//! hyper sets it anew for each request and drops it when the request's head has come. To set one of the runtime's timers costs more than
//! to read the head, so there is one for each connection: it stays set where it is, and is put off only when it rings.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time;

/// Makes timers that share one of the runtime's. They are to be waited for one at a time, and by one task.
#[derive(Clone, Default)]
pub(crate) struct SilenceTimer(Arc<Bell>);

/// The runtime's timer, once there was something to wait for. Held for one look at it.
type Bell = Mutex<Option<Pin<Box<time::Sleep>>>>;

/// One wait.
struct Silence {
    ends: time::Instant,
    bell: Arc<Bell>,
}

impl hyper::rt::Timer for SilenceTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Silence { ends: deadline.into(), bell: Arc::clone(&self.0) })
    }

    fn now(&self) -> Instant {
        time::Instant::now().into()
    }
}

impl hyper::rt::Sleep for Silence {}

impl Future for Silence {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut bell = self.bell.lock();
        if let Some(set) = &*bell
            && set.deadline() <= self.ends
            && !set.is_elapsed()
        {
            // It has been told whom to wake, by this wait or one before.
            return Poll::Pending;
        }
        let set = bell.get_or_insert_with(|| Box::pin(time::sleep_until(self.ends)));
        if set.deadline() != self.ends {
            set.as_mut().reset(self.ends);
        }
        set.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Timer;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_its_time_has_come_whatever_was_waited_for_before() {
        let timer = SilenceTimer::default();
        let began = time::Instant::now();
        for waited in 1..=3 {
            // This one is given up half way.
            let silence = timer.sleep(MINUTE);
            assert!(time::timeout(MINUTE / 2, silence).await.is_err());
            assert_eq!(began.elapsed(), MINUTE / 2 * waited);
        }
        let again = time::Instant::now();
        timer.sleep(MINUTE).await;
        assert_eq!(again.elapsed(), MINUTE);
        timer.sleep(MINUTE / 4).await;
        assert_eq!(again.elapsed(), MINUTE * 5 / 4);
    }
}
