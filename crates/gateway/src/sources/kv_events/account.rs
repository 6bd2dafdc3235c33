//! What is known of one worker's cache by its own events, and how well it was heard.
//!
//! Several publishers, one for each data-parallel rank, tell of one worker. Their batches are translated one at a time, and what changes
//! is handed on before the next, so that the index sees changes in the order in which they were told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Notify;
use warmroute_kv::wire::{Batch, Buffers, Losses, MOST_BLOCKS, Naming, Tier, Translator, WireError};
use warmroute_kv::{BlockHash, KvEvents};

use super::frames::Numbered;
use super::nearer::{Aside, Nearer};

/// How a worker is heard, from well to badly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hearability {
    /// All its publishers are followed without a gap.
    Live,
    /// Nothing has been heard of one of them yet.
    #[default]
    Silent,
    /// Something is being asked for again.
    Replaying,
    /// One of them cannot be reached, or left a gap that could not be filled.
    Stale,
}

impl Hearability {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Live, Self::Silent, Self::Replaying, Self::Stale];

    /// For labels and logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Silent => "silent",
            Self::Replaying => "replaying",
            Self::Stale => "stale",
        }
    }
}

/// What an account says to whoever it speaks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It speaks for its worker's cache from now on, beginning with all that is held.
    Begin(Told),
    /// Something has changed, or was heard that changes nothing.
    Changes(Told),
    /// It speaks no more.
    End,
}

/// What a worker told, and the number of its next message where all of them come from one publisher.
pub(crate) type Told = (KvEvents, Option<u64>);

/// Who is spoken to.
pub(crate) type Sink = Box<dyn Fn(Word) + Send + Sync>;

/// One worker's cache as it tells it.
pub(crate) struct Account {
    /// Guards translation and the order in which changes are handed on.
    engine: Mutex<Engine>,
    /// By publisher.
    states: Mutex<Vec<Hearability>>,
    /// Tells that a state has changed, or something else that decides who speaks.
    changed: Notify,
    sink: Sink,
    counts: Counts,
    /// Whether the nearer tiers have begun.
    tiers_differ: AtomicBool,
}

struct Engine {
    /// The account itself.
    translator: Translator,
    nearer: Vec<Nearer>,
    buffers: Buffers,
    course: Course,
}

/// Where an account is with what it hands on.
#[derive(Clone, Copy)]
struct Course {
    /// Whether changes are handed on.
    speaking: bool,
    /// The number of the next message, where one publisher numbers them all.
    next: Option<u64>,
}

#[derive(Default)]
struct Counts {
    batches: AtomicU64,
    gaps: AtomicU64,
    replays: AtomicU64,
    restarts: AtomicU64,
    unreadable: AtomicU64,
    lag_micros: AtomicU64,
}

/// An account in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The worst of its publishers.
    pub state: Hearability,
    /// Blocks that it holds, by its own word.
    pub blocks: u32,
    /// Batches applied.
    pub batches: u64,
    /// Times that something was missing.
    pub gaps: u64,
    /// Times that a replay was asked for.
    pub replays: u64,
    /// Times that a publisher started anew.
    pub restarts: u64,
    /// Events and messages that could not be read.
    pub unreadable: u64,
    /// From a batch's time stamp to its coming, the last time, in microseconds; clocks may differ.
    pub lag_micros: u64,
    /// What could not be used.
    pub losses: Losses,
}

impl Statement {
    /// What is counted, by its name.
    pub(crate) const fn counts(&self) -> [(&'static str, u64); 9] {
        [
            ("batches", self.batches),
            ("gaps", self.gaps),
            ("replays", self.replays),
            ("restarts", self.restarts),
            ("unreadable", self.unreadable),
            ("orphans", self.losses.orphans),
            ("unknown", self.losses.unknown),
            ("missized", self.losses.missized),
            ("beyond", self.losses.beyond),
        ]
    }
}

impl Account {
    /// Of a worker with so many publishers. Says nothing to `sink` until it is told to [`speak`](Self::speak).
    pub(crate) fn new(naming: Naming, publishers: usize, sink: Sink) -> Self {
        Self {
            engine: Mutex::new(Engine {
                translator: Translator::new(naming, MOST_BLOCKS),
                nearer: Vec::new(),
                buffers: Buffers::default(),
                course: Course { speaking: false, next: (publishers == 1).then_some(0) },
            }),
            states: Mutex::new(vec![Hearability::Stale; publishers]),
            changed: Notify::new(),
            sink,
            counts: Counts::default(),
            tiers_differ: AtomicBool::new(false),
        }
    }

    /// Keeps what is held in `farthest` and nearer tiers apart for somebody, from when [`tiers_differ`](Self::tiers_differ).
    pub(crate) fn apart(self, farthest: Tier, aside: Aside) -> Self {
        self.engine.lock().nearer.push(Nearer::new(farthest, aside));
        self
    }

    /// Whether anything was ever told of another tier than the nearest. Before that all tiers hold the same, and whoever keeps them
    /// apart was told nothing.
    pub(crate) fn tiers_differ(&self) -> bool {
        self.tiers_differ.load(Ordering::Acquire)
    }

    /// Speaks for its worker's cache from now on, or does so no more.
    pub(crate) fn speak(&self, speaking: bool) {
        let engine = &mut *self.engine.lock();
        if std::mem::replace(&mut engine.course.speaking, speaking) == speaking {
            return;
        }
        // With the engine locked, so that nothing comes between what is held and what changes.
        let held = || (engine.translator.recount(), engine.course.next);
        (self.sink)(if speaking { Word::Begin(held()) } else { Word::End });
    }

    /// Whether it speaks for its worker's cache.
    pub(crate) fn speaks(&self) -> bool {
        self.engine.lock().course.speaking
    }

    /// How many leading blocks of `chain` the worker holds, by its own word, whether it is believed or not.
    pub(crate) fn leading(&self, chain: &[BlockHash]) -> usize {
        self.engine.lock().translator.leading(chain)
    }

    /// How its worst publisher is heard.
    pub(in crate::sources) fn state(&self) -> Hearability {
        self.states.lock().iter().copied().max().unwrap_or(Hearability::Silent)
    }

    /// Waits until something may have changed who is to speak; what has changed since the last call counts.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Something has.
    pub(crate) fn look_again(&self) {
        self.changed.notify_one();
    }

    /// The account in numbers.
    pub(crate) fn statement(&self) -> Statement {
        let (blocks, losses) = {
            let engine = self.engine.lock();
            (engine.translator.blocks().0, engine.translator.losses())
        };
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Statement {
            state: self.state(),
            blocks,
            batches: count(&self.counts.batches),
            gaps: count(&self.counts.gaps),
            replays: count(&self.counts.replays),
            restarts: count(&self.counts.restarts),
            unreadable: count(&self.counts.unreadable),
            lag_micros: count(&self.counts.lag_micros),
            losses,
        }
    }

    /// A message of the publisher for `rank`, unless it says another rank itself.
    pub(super) fn apply(&self, rank: u32, message: &Numbered) {
        match self.translate(rank, message) {
            Ok(()) => add(&self.counts.batches),
            Err(error) => self.unreadable(&error),
        }
    }

    fn translate(&self, rank: u32, message: &Numbered) -> Result<(), WireError> {
        let batch = Batch::read(&message.payload)?;
        self.counts.lag_micros.store(micros_since(batch.published_s), Ordering::Relaxed);
        let rank = batch.data_parallel_rank.unwrap_or(rank);
        let engine = &mut *self.engine.lock();
        let (mut events, mut changes) = (batch.events(), KvEvents::new());
        while let Some(event) = events.next(&mut engine.buffers) {
            match event {
                Ok(event) => {
                    if event.tier() != Tier::Device && !self.tiers_differ() {
                        self.hand_on(engine.course, std::mem::take(&mut changes));
                        engine.nearer.iter_mut().for_each(|nearer| nearer.begin(&engine.translator));
                        self.tiers_differ.store(true, Ordering::Release);
                    }
                    engine.translator.apply(rank, &event, &mut changes);
                    engine.nearer.iter_mut().for_each(|nearer| nearer.apply(rank, &event));
                }
                Err(error) => self.unreadable(&error),
            }
        }
        engine.course.next = engine.course.next.map(|_| message.sequence.saturating_add(1));
        self.hand_on(engine.course, changes);
        engine.nearer.iter_mut().for_each(Nearer::hand_on);
        Ok(())
    }

    /// Nothing is believed of this rank any more.
    pub(super) fn forget(&self, rank: u32) {
        let (engine, mut changes) = (&mut *self.engine.lock(), KvEvents::new());
        engine.translator.forget(rank, &mut changes);
        engine.course.next = engine.course.next.map(|_| 0);
        self.hand_on(engine.course, changes);
        engine.nearer.iter_mut().for_each(|nearer| nearer.forget(rank));
    }

    /// Called with the engine locked, so that changes keep their order.
    fn hand_on(&self, course: Course, changes: KvEvents) {
        if course.speaking && (course.next.is_some() || !changes.is_empty()) {
            (self.sink)(Word::Changes((changes, course.next)));
        }
    }

    pub(super) fn unreadable(&self, error: &dyn std::fmt::Display) {
        // The first says it all, and a stream of them must not fill the log.
        if self.counts.unreadable.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(%error, "a KV event is unreadable; further ones are only counted");
        }
    }

    pub(super) fn set_state(&self, publisher: usize, state: Hearability) {
        let before = std::mem::replace(&mut self.states.lock()[publisher], state);
        if before != state {
            self.look_again();
        }
    }

    pub(super) fn gap(&self) {
        add(&self.counts.gaps);
    }

    pub(super) fn replay(&self) {
        add(&self.counts.replays);
    }

    pub(super) fn restart(&self) {
        add(&self.counts.restarts);
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// By this machine's clock; a time stamp from the future is no time ago.
fn micros_since(published_s: f64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    // The cast saturates, and makes nothing of what is no number.
    ((now - published_s).max(0.0) * 1e6) as u64
}
