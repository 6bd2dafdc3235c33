//! Time spent request by request: each takes one of so many seats, for a fixed time or none at all.
//!
//! A request holds its blocks from the moment it sits down until its answer was taken, and room for the whole answer from the
//! start, so that two of them never wait for each other. With no latency and room to spare, that is two short locks.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};
use warmroute_kv::timed::Work;
use warmroute_kv::{BlockPool, Blocks, KvEvents, Lease, Tokens};
use warmroute_openai::ApiError;

use super::engine::Desk;
use super::look::{BLOCK, Prompt};
use super::telling::{Fresh, Known};
use crate::engine::{KvBatch, KvFeed, Pass};

/// The seats of one emulated worker.
#[derive(Debug)]
pub(super) struct Seats {
    pub(super) desk: Desk,
    seats: Arc<Semaphore>,
    count: usize,
    latency: Duration,
    /// Never held across a wait.
    cache: Mutex<Cache>,
    /// Somebody has given blocks back.
    room: Notify,
}

#[derive(Debug)]
struct Cache {
    pool: BlockPool,
    feed: KvFeed,
    events: KvEvents,
}

/// A request in its seat. Dropping it gives everything back.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    prompt: Prompt,
    pub(super) cached: Tokens,
    /// Until it is given back.
    lease: Option<Lease>,
    _seat: OwnedSemaphorePermit,
    _pass: Pass,
}

impl Seats {
    pub(super) fn new(desk: Desk, feed: KvFeed, (count, latency): (usize, Duration)) -> Arc<Self> {
        let count = count.clamp(1, Semaphore::MAX_PERMITS);
        let cache = Cache { pool: BlockPool::new(desk.capacity), feed, events: KvEvents::new() };
        Arc::new(Self {
            desk,
            seats: Arc::new(Semaphore::new(count)),
            count,
            latency,
            cache: Mutex::new(cache),
            room: Notify::new(),
        })
    }

    /// Waits for a seat and for room, then as long as a request takes.
    pub(super) async fn begin(this: &Arc<Self>, prompt: Prompt) -> Result<Seat, ApiError> {
        let pass = this.desk.enter(&prompt)?;
        let arrived = std::time::Instant::now();
        let seat = Arc::clone(&this.seats).acquire_owned().await.expect("the semaphore is never closed");
        let lease = this.lease(&prompt).await;
        let cached = Tokens::of(lease.sealed() * BLOCK.get());
        let mut seat =
            Seat { seats: Arc::clone(this), prompt, cached, lease: Some(lease), _seat: seat, _pass: pass };
        if !this.latency.is_zero() {
            tokio::time::sleep(this.latency).await;
        }
        seat.seal(seat.prompt.tokens);
        this.desk.read(seat.prompt.tokens, cached);
        this.desk.metrics.observe_first_token(arrived.elapsed().as_secs_f64());
        Ok(seat)
    }

    /// The longest prefix in the cache and room for the rest of prompt and answer.
    async fn lease(&self, prompt: &Prompt) -> Lease {
        loop {
            let freed = self.room.notified();
            if let Some(lease) = self.cache.lock().lease(prompt, &self.desk) {
                return lease;
            }
            freed.await;
        }
    }

    pub(super) fn clear_cache(&self) {
        let cache = &mut *self.cache.lock();
        cache.pool.clear(&mut cache.events);
        cache.tell(&self.desk, &Fresh::default());
    }

    pub(super) fn kv_batches(&self) -> broadcast::Receiver<Arc<KvBatch>> {
        self.cache.lock().feed.listeners().subscribe()
    }

    pub(super) fn resident(&self) -> Blocks {
        self.cache.lock().pool.resident()
    }

    /// Requests seated, and the share of the cache they hold.
    pub(super) fn load(&self) -> (usize, f64) {
        let pool = &self.cache.lock().pool;
        let held = pool.capacity() - pool.available();
        (self.count - self.seats.available_permits(), held.as_f64() / pool.capacity().as_f64())
    }
}

impl Cache {
    fn lease(&mut self, prompt: &Prompt, desk: &Desk) -> Option<Lease> {
        // The last token is always computed: its output is the answer's next.
        let reusable = (prompt.tokens.get() - 1) / BLOCK.get();
        let chain = prompt.blocks().iter().take(reusable).map(|name| (*name, &()));
        let mut lease = self.pool.begin(prompt.root(), chain);
        let missing = (prompt.tokens + prompt.answer).in_blocks(BLOCK).get() - lease.len();
        let grown = self.pool.grow(&mut lease, missing, &mut self.events);
        self.tell(desk, &Fresh::default());
        match grown {
            Ok(()) => Some(lease),
            Err(_) => {
                self.pool.release(lease);
                None
            }
        }
    }

    fn tell(&mut self, desk: &Desk, fresh: &Fresh) {
        desk.metrics.observe_events(&self.events);
        self.feed.publish(&mut self.events, &Known { fresh, pool: &self.pool });
    }
}

impl Seat {
    pub(super) fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// The answer is complete: its blocks stay in the cache, where nobody will ask for them.
    pub(super) fn finish(mut self) {
        self.seal(self.prompt.tokens + self.prompt.answer - Tokens(1));
        self.seats.desk.metrics.observe_answers(u64::from(self.prompt.answer.0));
        self.seats.desk.metrics.observe_end("length");
    }

    /// The first `tokens` tokens have been computed: their whole blocks are everybody's.
    fn seal(&mut self, tokens: Tokens) {
        let Some(lease) = &mut self.lease else { return };
        let cache = &mut *self.seats.cache.lock();
        let mut fresh = Fresh::default();
        if cache.feed.is_published() {
            fresh.add(&self.prompt, lease.sealed()..tokens.get() / BLOCK.get());
        }
        while lease.sealed() < tokens.get() / BLOCK.get() {
            let place = lease.sealed();
            let known = self.prompt.blocks().get(place).copied();
            let name = known.unwrap_or_else(|| self.prompt.name.next_text(&place.to_le_bytes()));
            cache.pool.seal(lease, name, (), &mut cache.events);
        }
        cache.tell(&self.seats.desk, &fresh);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.seats.cache.lock().pool.release(lease);
            self.seats.room.notify_waiters();
        }
    }
}
