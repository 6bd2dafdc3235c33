//! The thread that runs an engine, and the handle by which the async side speaks to it.
//!
//! Inference is hours of arithmetic in small steps, so it gets an OS thread instead of blocking an async runtime. Commands go in
//! over a bounded channel, tokens come out over one channel per request. That channel has room for every
//! token the request may get, so a slow reader never stalls the batch. A request whose receiver is dropped leaves the
//! engine before the next step.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc, oneshot};
use warmroute_kv::{BlockHash, KvEvents, TokenId};
use warmroute_openai::response::FinishReason;

use super::batch::{Engine, Limits};
use super::feed::{KvBatch, KvFeed};
use super::gate::{Gate, Pass};
use super::inference::Inference;
use super::metrics::Metrics;
use super::notice::Notices;
use super::priority::step_back;
use super::sequence::{Job, RequestId};
use super::step::{Scheduled, StepReport, Update};
use crate::publish::{Outlet, Told};

/// Room in the command channel beyond the jobs the gate lets in.
const SPARE_COMMANDS: usize = 16;

/// How often is looked for newcomers while everybody waits for room.
const BREATH: Duration = Duration::from_millis(1);

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many requests run and wait as may.
    #[error("{in_flight} requests are running or waiting; hint: try again shortly")]
    Full {
        /// Requests in flight.
        in_flight: usize,
    },
    /// The engine has ended.
    #[error("the engine has stopped; hint: look at the worker's log, and restart it")]
    Stopped,
}

enum Command {
    Submit {
        job: Job,
        client: Client,
    },
    ClearCache {
        done: oneshot::Sender<()>,
    },
    /// Look at the stop flag.
    Wake,
}

/// Where a request's tokens go, and its place in the gate.
struct Client {
    outbox: mpsc::Sender<Update>,
    arrived: Instant,
    started: bool,
    /// What salt the root of its blocks has in it.
    salt: Option<(BlockHash, Box<str>)>,
    _pass: Pass,
}

/// The async side of an engine. Clones speak to the same one.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: mpsc::Sender<Command>,
    gate: Gate,
    metrics: Arc<Metrics>,
    kv_batches: broadcast::Sender<Arc<KvBatch>>,
    stop: Arc<AtomicBool>,
}

impl EngineHandle {
    /// Starts the thread. `max_waiting` bounds the queue behind the running batch; cache events go to `outlet` too, if there is one.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start<M>(
        model: M,
        limits: Limits,
        max_waiting: usize,
        (metrics, outlet): (Metrics, Option<Outlet>),
    ) -> std::io::Result<Self>
    where
        M: Inference<Text: Send> + Send + 'static,
    {
        let gate = Gate::new(limits.max_running + max_waiting);
        let (commands, inbox) = mpsc::channel(limits.max_running + max_waiting + SPARE_COMMANDS);
        let feed = KvFeed::new(outlet);
        let handle = Self {
            commands,
            gate,
            metrics: Arc::new(metrics),
            kv_batches: feed.listeners(),
            stop: Arc::default(),
        };
        let shell = Shell {
            engine: Engine::new(model, limits),
            clients: HashMap::new(),
            next_id: 0,
            metrics: Arc::clone(&handle.metrics),
            feed,
            notices: Notices::default(),
            stop: Arc::clone(&handle.stop),
        };
        std::thread::Builder::new().name("inference".to_owned()).spawn(move || {
            step_back();
            shell.run(inbox);
        })?;
        Ok(handle)
    }

    /// Hands a job over. Dropping the receiver cancels it; a receiver that ends without a finish means the engine died.
    ///
    /// # Errors
    /// If the queue is full or the engine has stopped.
    pub fn submit(&self, job: Job, arrived: Instant) -> Result<mpsc::Receiver<Update>, Refused> {
        let pass = self.gate.enter().ok_or_else(|| Refused::Full { in_flight: self.gate.inside() })?;
        let (outbox, updates) = mpsc::channel(job.options.max_tokens.max(1));
        let client = Client {
            outbox,
            arrived,
            started: false,
            salt: job.salt.clone().map(|salt| (job.root, salt)),
            _pass: pass,
        };
        self.commands.try_send(Command::Submit { job, client }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Full { in_flight: self.gate.inside() },
            mpsc::error::TrySendError::Closed(_) => Refused::Stopped,
        })?;
        Ok(updates)
    }

    /// Empties the prefix cache; what running requests hold is forgotten too, once they end.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub async fn clear_cache(&self) -> Result<(), Refused> {
        let (done, cleared) = oneshot::channel();
        self.commands.send(Command::ClearCache { done }).await.map_err(|_| Refused::Stopped)?;
        cleared.await.map_err(|_| Refused::Stopped)
    }

    /// Cache changes from now on. Bounded: a listener that lags loses the oldest.
    pub fn kv_batches(&self) -> broadcast::Receiver<Arc<KvBatch>> {
        self.kv_batches.subscribe()
    }

    /// Who is in flight.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The metrics in exposition format.
    pub fn expose_metrics(&self) -> String {
        self.metrics.expose(self.gate.inside())
    }

    /// Whether the thread still takes work.
    pub fn is_alive(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Ends the thread after its present step, whatever is in flight: all receivers end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // A full channel means a busy engine, which looks at the flag anyway.
        let _ = self.commands.try_send(Command::Wake);
    }

    /// Returns once the thread has ended.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }
}

/// The thread's side.
struct Shell<M: Inference> {
    engine: Engine<M>,
    clients: HashMap<RequestId, Client>,
    next_id: u64,
    metrics: Arc<Metrics>,
    feed: KvFeed,
    notices: Notices,
    stop: Arc<AtomicBool>,
}

impl<M: Inference> Shell<M> {
    fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut scheduled = None;
        loop {
            if scheduled.is_none() && !self.engine.is_busy() {
                match inbox.blocking_recv() {
                    Some(command) => self.take(command),
                    None => return,
                }
            }
            self.take_all(&mut inbox);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let Some(step) = scheduled.take().or_else(|| self.schedule()) else { continue };
            if step.is_idle() {
                std::thread::sleep(BREATH);
            }
            let report = self.engine.compute(step);
            let updates = self.tell(report);
            // Whoever has its answer may ask again at once, and a router that believes in what the next step evicts would be wrong.
            self.take_all(&mut inbox);
            scheduled = self.schedule();
            updates.into_iter().for_each(|(id, update)| self.deliver(id, update));
        }
    }

    fn take_all(&mut self, inbox: &mut mpsc::Receiver<Command>) {
        while let Ok(command) = inbox.try_recv() {
            self.take(command);
        }
    }

    /// The first half of a step, if there is anything to do. What it evicts is told before anything is computed.
    fn schedule(&mut self) -> Option<Scheduled> {
        self.drop_disconnected();
        if !self.engine.is_busy() {
            return None;
        }
        let passed = self.notices.are_heeded().then(|| self.give_notice());
        let mut scheduled = self.engine.schedule(passed);
        self.publish(scheduled.events());
        Some(scheduled)
    }

    /// Tells of evictions to come; returns which of those that were told may happen now.
    fn give_notice(&mut self) -> u64 {
        let (message, now) = (self.feed.next(), Instant::now());
        let mut events = self.engine.give_notice(message);
        if !events.is_empty() {
            self.notices.give(message, now);
            self.publish(&mut events);
        }
        self.notices.passed(now)
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Submit { job, client } => {
                let id = RequestId(self.next_id);
                self.next_id += 1;
                if job.heard.is_some() {
                    self.notices.heed();
                }
                let mut restored = self.engine.submit(id, job);
                self.clients.insert(id, client);
                self.publish(&mut restored);
            }
            Command::ClearCache { done } => {
                let mut events = self.engine.clear_cache();
                self.publish(&mut events);
                // Whoever asked may have gone: the cache is empty all the same.
                let _ = done.send(());
            }
            Command::Wake => {}
        }
    }

    fn drop_disconnected(&mut self) {
        let gone: Vec<Client> = self
            .clients
            .extract_if(|_, client| client.outbox.is_closed())
            .map(|(_, client)| client)
            .collect();
        if gone.is_empty() {
            return;
        }
        self.engine.retain(|id| self.clients.contains_key(&id));
        self.observe_batch();
        gone.iter().for_each(|_| self.metrics.observe_end("abort"));
        // The passes go last: whoever waits for an empty gate then finds the gauges settled.
        drop(gone);
    }

    /// Tells everybody but the clients; returns what is for them.
    fn tell(&mut self, mut report: StepReport) -> Vec<(RequestId, Update)> {
        self.metrics.observe_step(&report);
        self.observe_batch();
        // Before anybody is told of an end, and forgotten with its salt.
        self.publish(&mut report.events);
        report.updates
    }

    fn publish(&mut self, events: &mut KvEvents) {
        self.metrics.observe_events(events);
        self.feed.publish(events, &Known { engine: &self.engine, clients: &self.clients });
    }

    fn deliver(&mut self, id: RequestId, update: Update) {
        // One that has left since the step began is not told how it ended.
        let Some(client) = self.clients.get_mut(&id) else { return };
        if !client.started {
            client.started = true;
            self.metrics.observe_first_token(client.arrived.elapsed().as_secs_f64());
        }
        let finish = update.finish;
        // Never full: it has room for max_tokens updates. A closed one is noticed before the next step.
        let _ = client.outbox.try_send(update);
        if let Some((reason, _)) = finish {
            self.metrics.observe_end(match reason {
                FinishReason::Stop => "stop",
                FinishReason::Length => "length",
                FinishReason::Other => "other",
            });
            self.clients.remove(&id);
        }
    }

    fn observe_batch(&self) {
        self.metrics.observe_batch(self.engine.running(), self.engine.cache_usage());
    }
}

/// What the engine knows of blocks beyond their names.
struct Known<'a, M: Inference> {
    engine: &'a Engine<M>,
    clients: &'a HashMap<RequestId, Client>,
}

impl<M: Inference> Told for Known<'_, M> {
    fn tokens(&self, block: BlockHash) -> Cow<'_, [TokenId]> {
        // Nothing is evicted in a step after it has begun to share blocks.
        self.engine.tokens_of(block).expect("a block that has just come in is there").into()
    }

    fn holds(&self, name: BlockHash) -> bool {
        self.engine.tokens_of(name).is_some()
    }

    fn salt(&self, root: BlockHash) -> Option<&str> {
        let salted = self.clients.values().filter_map(|client| client.salt.as_ref());
        salted.filter(|(own, _)| *own == root).map(|(_, salt)| &**salt).next()
    }
}
