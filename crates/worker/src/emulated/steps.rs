//! Time spent in steps: the simulator's engine, run by a clock.
//!
//! One task begins a step, sleeps as long as the model says it takes, ends it, and tells every request how far its answer has
//! come. A request keeps no text, only that number: whoever reads slowly costs nothing.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, sleep_until};
use warmroute_kv::timed::{self, EngineSpec, Job, RequestId, Signal, StepTime};
use warmroute_kv::{Blocks, Tokens};
use warmroute_openai::ApiError;

use super::EmulatedConfig;
use super::engine::Desk;
use super::look::{BLOCK, Prompt};
use super::telling::{Fresh, Known};
use crate::engine::{KvBatch, KvFeed, Pass};

/// A step at another speed could take longer than a clock can say, or nothing.
const SLOWEST: f64 = 1e-3;
const FASTEST: f64 = 1e6;

/// The engine of one emulated worker, and those who wait for it.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) desk: Desk,
    /// Never held across a wait.
    core: Mutex<Core>,
    came: Notify,
    speed: f64,
}

#[derive(Debug)]
struct Core {
    engine: timed::Engine<Prompt>,
    clients: HashMap<RequestId, Client>,
    next: usize,
    feed: KvFeed,
    preemptions: usize,
}

#[derive(Debug)]
struct Client {
    progress: watch::Sender<Progress>,
    prompt: Tokens,
    answer: Tokens,
    arrived: Instant,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    tokens: u32,
    /// Prompt tokens that were in the cache, once it was read.
    cached: Option<Tokens>,
}

/// A request in the engine. Dropping it takes it out.
#[derive(Debug)]
pub(super) struct StepsTicket {
    steps: Arc<Steps>,
    id: RequestId,
    progress: watch::Receiver<Progress>,
    pub(super) cached: Tokens,
    _pass: Pass,
}

impl Steps {
    pub(super) fn new(
        desk: Desk,
        feed: KvFeed,
        config: &EmulatedConfig,
        (time, speed): (StepTime, f64),
    ) -> Arc<Self> {
        let spec = EngineSpec {
            chunk: config.prefill_chunk_tokens.max(Tokens(1)),
            most_requests: config.max_running.max(1),
            ..EngineSpec::new(time, desk.longest(), BLOCK)
        };
        let core =
            Core { engine: timed::Engine::new(spec), clients: HashMap::new(), next: 0, feed, preemptions: 0 };
        let speed = speed.clamp(SLOWEST, FASTEST);
        Arc::new(Self { desk, core: Mutex::new(core), came: Notify::new(), speed })
    }

    /// Steps for as long as it is polled. Steps follow each other without gaps while there is work, however coarse the
    /// clock's ticks are: a step that was ended late is followed by one that is shorter for it.
    pub(super) async fn run(self: Arc<Self>) {
        let mut due = Instant::now();
        loop {
            let came = self.came.notified();
            let step = self.core.lock().begin_step(&self.desk);
            let Some(step) = step else {
                came.await;
                due = Instant::now();
                continue;
            };
            due += step.div_f64(self.speed);
            sleep_until(due).await;
            self.core.lock().end_step(&self.desk);
        }
    }

    /// Queues a request and waits for its first token.
    pub(super) async fn begin(this: &Arc<Self>, prompt: Prompt) -> Result<StepsTicket, ApiError> {
        let pass = this.desk.enter(&prompt)?;
        let (id, progress) = this.core.lock().enqueue(prompt);
        this.came.notify_one();
        let mut ticket =
            StepsTicket { steps: Arc::clone(this), id, progress, cached: Tokens::ZERO, _pass: pass };
        let read = ticket.progress.wait_for(|progress| progress.cached.is_some()).await;
        ticket.cached = read.map_err(|_| stopped())?.cached.unwrap_or_default();
        Ok(ticket)
    }

    pub(super) fn clear_cache(&self) {
        let core = &mut *self.core.lock();
        core.engine.pool.clear(&mut core.engine.events);
        core.tell(&self.desk, &Fresh::default());
    }

    pub(super) fn kv_batches(&self) -> broadcast::Receiver<Arc<KvBatch>> {
        self.core.lock().feed.listeners().subscribe()
    }

    pub(super) fn resident(&self) -> Blocks {
        self.core.lock().engine.pool.resident()
    }

    /// Requests that hold memory, and the share of the cache they hold.
    pub(super) fn load(&self) -> (usize, f64) {
        let core = self.core.lock();
        let pool = &core.engine.pool;
        let held = pool.capacity() - pool.available();
        (core.engine.running(), held.as_f64() / pool.capacity().as_f64())
    }
}

fn stopped() -> ApiError {
    ApiError::internal("the emulated engine stopped")
}

impl Core {
    fn enqueue(&mut self, prompt: Prompt) -> (RequestId, watch::Receiver<Progress>) {
        let id = RequestId(self.next);
        self.next += 1;
        let (progress, receiver) = watch::channel(Progress::default());
        let client =
            Client { progress, prompt: prompt.tokens, answer: prompt.answer, arrived: Instant::now() };
        self.clients.insert(id, client);
        self.engine.enqueue(Job::new(id, prompt));
        (id, receiver)
    }

    fn begin_step(&mut self, desk: &Desk) -> Option<std::time::Duration> {
        let mut signals = Vec::new();
        let step = self.engine.begin_step(&mut signals);
        self.hear(&signals, desk);
        // It gives room to what begins; nothing comes in.
        self.tell(desk, &Fresh::default());
        step
    }

    fn end_step(&mut self, desk: &Desk) {
        let (mut signals, mut fresh) = (Vec::new(), Fresh::default());
        if self.feed.is_published() {
            self.engine.finishing().for_each(|(prompt, places)| fresh.add(prompt, places));
        }
        self.engine.end_step(&mut signals);
        for (id, tokens) in self.engine.answers() {
            if let Some(client) = self.clients.get(&id) {
                client.reach(tokens, desk);
            }
        }
        self.hear(&signals, desk);
        self.tell(desk, &fresh);
    }

    fn hear(&mut self, signals: &[Signal], desk: &Desk) {
        for signal in signals {
            match *signal {
                Signal::FirstToken { id, cached } => {
                    let Some(client) = self.clients.get(&id) else { continue };
                    desk.read(client.prompt, cached);
                    desk.metrics.observe_first_token(client.arrived.elapsed().as_secs_f64());
                    client.progress.send_modify(|progress| progress.cached = Some(cached));
                }
                Signal::Done { id } => {
                    let Some(client) = self.clients.remove(&id) else { continue };
                    client.reach(client.answer.0, desk);
                    desk.metrics.observe_end("length");
                }
                // The desk lets nothing in that does not fit.
                Signal::Refused { id } => drop(self.clients.remove(&id)),
            }
        }
    }

    fn tell(&mut self, desk: &Desk, fresh: &Fresh) {
        desk.metrics.observe_preemptions((self.engine.preemptions - self.preemptions) as u64);
        self.preemptions = self.engine.preemptions;
        desk.metrics.observe_events(&self.engine.events);
        let known = Known { fresh, pool: &self.engine.pool };
        self.feed.publish(&mut self.engine.events, &known);
    }

    fn cancel(&mut self, id: RequestId, desk: &Desk) {
        if self.clients.remove(&id).is_some() {
            self.engine.cancel(id);
            desk.metrics.observe_end("abort");
        }
    }
}

impl Client {
    fn reach(&self, tokens: u32, desk: &Desk) {
        self.progress.send_if_modified(|progress| {
            let more = tokens.saturating_sub(progress.tokens);
            desk.metrics.observe_answers(u64::from(more));
            progress.tokens += more;
            more > 0
        });
    }
}

impl StepsTicket {
    pub(super) async fn reached(&mut self, tokens: u32) -> Result<u32, ApiError> {
        let progress = self.progress.wait_for(|progress| progress.tokens >= tokens).await;
        progress.map(|progress| progress.tokens).map_err(|_| stopped())
    }
}

impl Drop for StepsTicket {
    fn drop(&mut self) {
        self.steps.core.lock().cancel(self.id, &self.steps.desk);
    }
}
