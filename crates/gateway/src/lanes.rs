//! Lanes: threads that each serve connections of their own.
//!
//! A client's connection, its requests and the connections to workers that they use stay on one thread. So nothing that comes for a
//! request wakes another thread, which costs a proxy more than the request itself; what lanes share is the router and the metrics.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::time::interval;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A timer that rings before any other in the runtime wakes its thread by a system call, even if that thread sets it. All of a
/// request's limits are longer than this.
const TICK: Duration = Duration::from_millis(500);

/// The threads of a gateway. Dropping them drops whatever they still serve.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    _end: DropGuard,
}

/// One of the threads.
#[derive(Clone)]
pub(crate) struct Lane {
    runtime: Handle,
    /// Held once by every connection.
    open: Arc<()>,
}

impl Lanes {
    /// So many of them; zero is one for each processor.
    ///
    /// # Errors
    /// If the system gives no more threads or file descriptors.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let count = if count == 0 { thread::available_parallelism().map_or(1, Into::into) } else { count };
        let end = CancellationToken::new();
        let lanes = (0..count).map(|number| Lane::start(number, end.clone())).collect::<Result<_, _>>();
        // If one cannot be started, the guard ends those that were.
        let end = end.drop_guard();
        Ok(Self { lanes: lanes?, _end: end })
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Lane] {
        &self.lanes
    }
}

impl Lane {
    fn start(number: usize, end: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let lane = Self { runtime: runtime.handle().clone(), open: Arc::default() };
        thread::Builder::new()
            .name(format!("lane-{number}"))
            .spawn(move || runtime.block_on(end.run_until_cancelled(tick())))?;
        Ok(lane)
    }

    /// Where its tasks are to run.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// To be held by a connection for as long as it is served here.
    pub(crate) fn seat(&self) -> Arc<()> {
        Arc::clone(&self.open)
    }

    /// Connections served here.
    pub(crate) fn connections(&self) -> usize {
        Arc::strong_count(&self.open)
    }
}

/// Lets everything else on this lane that is ready come as far as this first, and does not look for more.
///
/// A request runs through far more code than a processor's first cache holds, once. Where it waits here, several that have come
/// together run the same part of it one after another, and only the first has to fetch it. Tokio's own `yield_now` would ask the system
/// for events each time.
pub(crate) async fn abreast() {
    let mut waited = false;
    poll_fn(|cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Sets a timer that rings sooner than a request's, again and again.
async fn tick() {
    let mut ticks = interval(TICK);
    loop {
        ticks.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::{JoinSet, LocalSet};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn those_that_are_ready_go_through_each_part_together() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let tasks = LocalSet::new();
        for who in ["a", "b", "c"] {
            let seen = Rc::clone(&seen);
            tasks.spawn_local(async move {
                for part in 0..3 {
                    seen.borrow_mut().push(format!("{who}{part}"));
                    abreast().await;
                }
            });
        }
        tasks.await;
        assert_eq!(seen.borrow().join(" "), "a0 b0 c0 a1 b1 c1 a2 b2 c2");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_goes_on_at_once() {
        // A paused clock jumps to the next timer as soon as the runtime has nothing to do but wait.
        let mut bell = JoinSet::new();
        bell.spawn(tokio::time::sleep(Duration::from_millis(1)));
        let began = Instant::now();
        abreast().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
