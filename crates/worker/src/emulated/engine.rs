//! What the two ways of spending time have in common: who is let in, what is counted, and how an answer is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;
use warmroute_kv::{Blocks, Tokens};
use warmroute_openai::ApiError;

use super::look::{BLOCK, Prompt};
use super::seats::{Seat, Seats};
use super::steps::{Steps, StepsTicket};
use super::{Counters, EmulatedConfig, Pace};
use crate::engine::{Gate, KvBatch, KvFeed, Limits, Metrics, Pass};
use crate::publish::Outlet;

/// The door and the books of one emulated worker.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) gate: Gate,
    pub(super) metrics: Metrics,
    /// Blocks in the cache.
    pub(super) capacity: Blocks,
    requests: AtomicU64,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
}

impl Desk {
    fn new(config: &EmulatedConfig) -> Self {
        let capacity = Blocks((config.kv_cache_tokens.0 / BLOCK.0).max(1));
        let limits = Limits {
            block_tokens: BLOCK.get(),
            capacity,
            prefill_tokens: config.prefill_chunk_tokens.get(),
            max_running: config.max_running,
        };
        Self {
            gate: Gate::new(config.max_running.max(1) + config.max_waiting),
            metrics: Metrics::new(&config.model, &limits),
            capacity,
            requests: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            cached_tokens: AtomicU64::new(0),
        }
    }

    /// Prompt and answer of the longest request that fits.
    pub(super) fn longest(&self) -> Tokens {
        self.capacity.in_tokens(BLOCK)
    }

    /// Lets a request in that can be answered at all.
    pub(super) fn enter(&self, prompt: &Prompt) -> Result<Pass, ApiError> {
        if prompt.tokens.get() + prompt.answer.get() > self.longest().get() {
            return Err(ApiError::context_length_exceeded(
                prompt.tokens.0,
                prompt.answer.0,
                self.longest().0,
            ));
        }
        self.gate.enter().ok_or_else(|| ApiError::overloaded(self.gate.inside()))
    }

    /// A prompt was read, of which so many tokens were in the cache.
    pub(super) fn read(&self, prompt: Tokens, cached: Tokens) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.prompt_tokens.fetch_add(u64::from(prompt.0), Ordering::Relaxed);
        self.cached_tokens.fetch_add(u64::from(cached.0), Ordering::Relaxed);
        self.metrics.observe_prompt(u64::from(prompt.0), u64::from(cached.0));
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            requests: self.requests.load(Ordering::Relaxed),
            prompt_tokens: self.prompt_tokens.load(Ordering::Relaxed),
            cached_tokens: self.cached_tokens.load(Ordering::Relaxed),
        }
    }
}

/// One of the two ways.
#[derive(Debug)]
pub(super) enum Engine {
    Seats(Arc<Seats>),
    Steps(Arc<Steps>),
}

/// A request under way whose prompt was read. Dropping it ends the request.
#[derive(Debug)]
pub(super) enum Ticket {
    Seat(Seat),
    Steps(StepsTicket),
}

impl Engine {
    pub(super) fn new(config: &EmulatedConfig, outlet: Option<Outlet>) -> Self {
        let (desk, feed) = (Desk::new(config), KvFeed::new(outlet));
        match config.pace {
            Pace::Instant => Self::Seats(Seats::new(desk, feed, (config.max_running, Duration::ZERO))),
            Pace::Fixed(latency) => Self::Seats(Seats::new(desk, feed, (config.max_running, latency))),
            Pace::Steps { time, speed } => Self::Steps(Steps::new(desk, feed, config, (time, speed))),
        }
    }

    pub(super) fn desk(&self) -> &Desk {
        match self {
            Self::Seats(seats) => &seats.desk,
            Self::Steps(steps) => &steps.desk,
        }
    }

    /// Has a prompt read. Dropping the future ends the request.
    pub(super) async fn begin(&self, prompt: Prompt) -> Result<Ticket, ApiError> {
        match self {
            Self::Seats(seats) => Seats::begin(seats, prompt).await.map(Ticket::Seat),
            Self::Steps(steps) => Steps::begin(steps, prompt).await.map(Ticket::Steps),
        }
    }

    pub(super) fn clear_cache(&self) {
        match self {
            Self::Seats(seats) => seats.clear_cache(),
            Self::Steps(steps) => steps.clear_cache(),
        }
    }

    /// Blocks in the cache, of requests under way and of those before them.
    pub(super) fn resident(&self) -> Blocks {
        match self {
            Self::Seats(seats) => seats.resident(),
            Self::Steps(steps) => steps.resident(),
        }
    }

    pub(super) fn kv_batches(&self) -> broadcast::Receiver<Arc<KvBatch>> {
        match self {
            Self::Seats(seats) => seats.kv_batches(),
            Self::Steps(steps) => steps.kv_batches(),
        }
    }

    /// The metrics in exposition format, as of now.
    pub(super) fn expose(&self) -> String {
        let (running, usage) = match self {
            Self::Seats(seats) => seats.load(),
            Self::Steps(steps) => steps.load(),
        };
        let desk = self.desk();
        desk.metrics.observe_batch(running, usage);
        desk.metrics.expose(desk.gate.inside())
    }
}

impl Ticket {
    /// Prompt tokens that were in the cache.
    pub(super) fn cached(&self) -> Tokens {
        match self {
            Self::Seat(seat) => seat.cached,
            Self::Steps(ticket) => ticket.cached,
        }
    }

    /// Waits until the answer has `tokens` tokens; how many it has then. Dropping the future does nothing.
    pub(super) async fn reached(&mut self, tokens: u32) -> Result<u32, ApiError> {
        match self {
            Self::Seat(seat) => Ok(seat.prompt().answer.0),
            Self::Steps(ticket) => ticket.reached(tokens).await,
        }
    }

    /// The answer was taken in full.
    pub(super) fn finish(self) {
        if let Self::Seat(seat) = self {
            seat.finish();
        }
    }
}
