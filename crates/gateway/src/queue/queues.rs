//! A queue for each set of workers: who waits for the workers of one model is not in the way of who asks for another's.
//!
//! A queue is made when the first request waits for its set and dropped when the last has gone, so there are never more of them than
//! requests that wait.

use std::sync::Arc;

use parking_lot::RwLock;

use super::{Asker, Bounds, Queue, Turned};
use crate::sources::catalogue::Among;
use warmroute_kv::Tokens;
use warmroute_routing::NoWorker;

/// All queues of a gateway.
#[derive(Default)]
pub(crate) struct Queues {
    /// Held for a look. Mostly there is none, and hardly ever more than models.
    list: RwLock<Vec<(Among, Arc<Queue>)>>,
}

impl Queues {
    /// How many wait for any worker.
    pub(crate) fn waiting(&self) -> usize {
        self.list.read().iter().map(|(_, queue)| queue.waiting()).sum()
    }

    /// How many wait for just these workers.
    pub(crate) fn waiting_for(&self, among: &Among) -> usize {
        let list = self.list.read();
        list.iter().find(|(of, _)| of == among).map_or(0, |(_, queue)| queue.waiting())
    }

    /// Room may have become free, on whatever worker.
    pub(crate) fn call(&self) {
        self.list.read().iter().for_each(|(_, queue)| queue.call());
    }

    /// Waits among those who wait for the same workers; see [`Queue::in_turn`].
    pub(crate) async fn in_turn<T>(
        &self,
        among: &Among,
        (asker, bounds): (Asker, Bounds),
        seek: impl FnMut() -> Result<(T, Tokens), NoWorker>,
    ) -> Result<T, Turned> {
        let visit = Visit { queues: self, queue: self.lane(among) };
        visit.queue.in_turn(asker, bounds, seek).await
    }

    fn lane(&self, among: &Among) -> Arc<Queue> {
        let mut list = self.list.write();
        if let Some((_, queue)) = list.iter().find(|(of, _)| of == among) {
            return Arc::clone(queue);
        }
        let queue = Arc::new(Queue::new());
        list.push((among.clone(), Arc::clone(&queue)));
        queue
    }
}

/// Somebody is at a queue; the last to go takes it away.
struct Visit<'q> {
    queues: &'q Queues,
    queue: Arc<Queue>,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut list = self.queues.list.write();
        // The list's and this visit's: a new visitor takes its own under the same lock.
        if Arc::strong_count(&self.queue) == 2 {
            list.retain(|(_, queue)| !Arc::ptr_eq(queue, &self.queue));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use futures_util::FutureExt;
    use warmroute_routing::WorkerId;

    use super::*;
    use crate::queue::Priority;

    const BOUNDS: Bounds = Bounds { requests: 8, time: Duration::from_secs(60) };

    fn at(worker: u32) -> Among {
        Some(Arc::from([WorkerId(worker)]))
    }

    fn asker() -> (Asker, Bounds) {
        (Asker { priority: Priority::default(), key: Arc::from("") }, BOUNDS)
    }

    #[tokio::test(start_paused = true)]
    async fn room_for_one_model_is_taken_though_others_wait_longer_for_another() {
        let (queues, room) = (Queues::default(), Cell::new(0));
        let seek = |worker: u32| {
            let room = &room;
            move || if room.get() == worker { Ok(((), Tokens(1))) } else { Err(NoWorker::Full) }
        };
        let (first, second) = (at(1), at(2));
        let mut longer = Box::pin(queues.in_turn(&first, asker(), seek(1)));
        let mut shorter = Box::pin(queues.in_turn(&second, asker(), seek(2)));
        assert!((&mut longer).now_or_never().is_none() && (&mut shorter).now_or_never().is_none());
        assert_eq!((queues.waiting(), queues.waiting_for(&first), queues.waiting_for(&None)), (2, 1, 0));
        room.set(2);
        queues.call();
        assert!((&mut longer).now_or_never().is_none(), "its workers are as full as before");
        assert_eq!((&mut shorter).now_or_never(), Some(Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_goes_with_the_last_who_waited_in_it() {
        let queues = Queues::default();
        let among = at(1);
        let full = || Err::<((), Tokens), _>(NoWorker::Full);
        let mut one = Box::pin(queues.in_turn(&among, asker(), full));
        let mut other = Box::pin(queues.in_turn(&among, asker(), full));
        assert!((&mut one).now_or_never().is_none() && (&mut other).now_or_never().is_none());
        drop(one);
        assert_eq!((queues.waiting(), queues.list.read().len()), (1, 1));
        drop(other);
        assert_eq!(queues.list.read().len(), 0);
    }
}
