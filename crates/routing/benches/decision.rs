//! What one decision costs, from the prompt's block names to the booking, and what it costs to tell the router of its end.
//!
//! The index holds a million blocks, prompts are of 512 or of 64, and ten requests are in flight per worker. Each call is
//! timed by itself, since it is the slow ones that somebody waits for; the table has the clock's own cost subtracted. A
//! prompt's names are made just before it is asked for, as in the gateway, and so are in the nearest cache. Words behind
//! `--` choose the fleets whose names contain one of them.

#[expect(dead_code, reason = "the other bench asks it for more")]
mod shapes;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use warmroute_kv::{BlockHash, KvEvent, Tokens};
use warmroute_routing::{
    BookingId, Decision, Event, Publishes, Request, Router, Settings, Time, Usage, WorkerId, WorkerSpec,
};

use shapes::{ROOT, Sequence, Shape};

/// The shipped binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const INDEXED_BLOCKS: u64 = 1_000_000;
const GROUPS: u64 = 50;
const BLOCK_TOKENS: u64 = 16;
const IN_FLIGHT: usize = 10;
/// From a request's first token to its end.
const STAY: Duration = Duration::from_secs(10);
/// What a worker takes for each prompt, and for each token of it that it has not cached: it is busy a third of its time.
const STEP: Duration = Duration::from_millis(20);
const TOKEN: Duration = Duration::from_micros(100);
const ANSWER: Tokens = Tokens(256);
/// Until the shadows are full and every list has its size.
const WARM_UP: usize = 6_000;
const DECISIONS: usize = 40_000;

struct Fleet {
    workers: u32,
    publishes: Publishes,
    /// Blocks of a prompt; half of them are common to its group.
    prompt: u64,
}

const FLEETS: [Fleet; 6] = [
    Fleet { workers: 8, publishes: Publishes::Events, prompt: 64 },
    Fleet { workers: 8, publishes: Publishes::Events, prompt: 512 },
    Fleet { workers: 64, publishes: Publishes::Events, prompt: 512 },
    Fleet { workers: 1_024, publishes: Publishes::Events, prompt: 512 },
    Fleet { workers: 8, publishes: Publishes::Nothing, prompt: 512 },
    Fleet { workers: 64, publishes: Publishes::Nothing, prompt: 512 },
];

impl Fleet {
    fn name(&self) -> String {
        let what = if self.publishes == Publishes::Events { "told" } else { "shadows" };
        format!("{} {what}, {}", self.workers, self.prompt)
    }

    /// What its caches are warm with. Shadows need room for prompts that miss, or these would drive out what is asked again.
    fn stores(&self) -> Vec<Sequence> {
        let shared = self.prompt / 2;
        let warm = if self.publishes == Publishes::Events { INDEXED_BLOCKS } else { INDEXED_BLOCKS / 3 };
        let shape = Shape {
            name: "",
            sequences: (warm - GROUPS * shared).div_ceil(self.prompt - shared),
            blocks: self.prompt,
            shared,
            groups: GROUPS,
            workers: u64::from(self.workers),
            queries: 0,
        };
        shape.load().stores
    }

    /// Shadows hold a million blocks together; caches that tell are never full, since nothing is told of evictions.
    fn capacity(&self) -> Tokens {
        let blocks = INDEXED_BLOCKS / u64::from(self.workers);
        let least = if self.publishes == Publishes::Events { 1 << 15 } else { 0 };
        Tokens((blocks.max(least) * BLOCK_TOKENS) as u32)
    }
}

/// A router before a warm fleet with requests in flight, and what that fleet is going to tell.
struct World {
    router: Router,
    stores: Vec<Sequence>,
    /// What happens next, by time.
    coming: BinaryHeap<Reverse<(Time, u64, Told)>>,
    /// When each worker has read what it was sent.
    read_at: Vec<Time>,
    asked: u64,
    now: Time,
    laps: Laps,
}

/// What is told of a request beside its decision. Enough to make the event of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    FirstToken,
    Finished { prompt: Tokens, cached: Tokens },
}

/// How long calls took, and what became of prompt tokens: hits, and all.
#[derive(Default)]
struct Laps {
    decision: Vec<Duration>,
    first_token: Vec<Duration>,
    finished: Vec<Duration>,
    hits: (u64, u64),
}

impl World {
    fn warm(fleet: &Fleet) -> Self {
        let mut world = Self {
            router: Router::new(Settings::default()),
            stores: fleet.stores(),
            coming: BinaryHeap::new(),
            read_at: vec![Time::ZERO; fleet.workers as usize],
            asked: 0,
            now: Time::ZERO,
            laps: Laps::default(),
        };
        let spec = WorkerSpec { capacity: Some(fleet.capacity()), publishes: fleet.publishes };
        for worker in (0..fleet.workers).map(WorkerId) {
            world.router.observe(Event::Joined { worker, spec }, world.now);
        }
        for store in 0..world.stores.len() {
            let Sequence { worker, blocks } = &world.stores[store];
            let (worker, blocks) = (WorkerId(*worker), blocks.clone());
            if fleet.publishes == Publishes::Nothing {
                world.ask(&blocks);
                continue;
            }
            let event = KvEvent::Stored { parent: ROOT, blocks };
            world.router.observe(Event::Kv { worker, event }, world.now);
        }
        for _ in 0..WARM_UP + IN_FLIGHT * fleet.workers as usize {
            world.next();
        }
        world.laps = Laps::default();
        world
    }

    /// The next request, after what happens until it comes. How long its decision takes.
    fn next(&mut self) -> Duration {
        let prompt = shapes::query(&self.stores, self.asked, |store| store.blocks.len() / 2);
        self.asked += 1;
        self.ask(&prompt)
    }

    fn ask(&mut self, prompt: &[BlockHash]) -> Duration {
        self.now = self.now + STAY / (IN_FLIGHT * self.read_at.len()) as u32;
        self.hear();
        let request = Request::new(ROOT, prompt);
        let (decision, took) = timed(|| self.router.route(&request, self.now));
        let Decision { booking, overlap, prompt, worker, .. } = decision.expect("every worker is up");
        self.laps.decision.push(took);
        self.laps.hits.0 += u64::from(overlap.0);
        self.laps.hits.1 += u64::from(prompt.0);
        let read_at = &mut self.read_at[worker.0 as usize];
        *read_at = self.now.max(*read_at) + STEP + TOKEN * (prompt - overlap).0;
        let finished = Told::Finished { prompt, cached: overlap };
        self.coming.push(Reverse((*read_at, booking.0, Told::FirstToken)));
        self.coming.push(Reverse((*read_at + STAY, booking.0, finished)));
        took
    }

    /// Tells the router what happened by now.
    fn hear(&mut self) {
        while let Some(next) = self.coming.peek_mut().filter(|next| next.0.0 <= self.now) {
            let Reverse((at, booking, told)) = PeekMut::pop(next);
            let booking = BookingId(booking);
            let (event, laps) = match told {
                Told::FirstToken => (Event::FirstToken { booking }, &mut self.laps.first_token),
                Told::Finished { prompt, cached } => {
                    let usage = Usage { prompt, cached: Some(cached), output: ANSWER };
                    (Event::Finished { booking, usage: Some(usage) }, &mut self.laps.finished)
                }
            };
            let ((), took) = timed(|| self.router.observe(event, at));
            laps.push(took);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn timed<R>(call: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    let result = black_box(call());
    (result, start.elapsed())
}

/// The least that half of `laps`, and all but one in a hundred of them, stay within, without the clock's own cost.
fn quantiles(laps: &mut [Duration], clock: Duration) -> [u128; 2] {
    laps.sort_unstable();
    [laps.len() / 2, laps.len() * 99 / 100].map(|place| laps[place].saturating_sub(clock).as_nanos())
}

fn clock_cost() -> Duration {
    let mut laps: Vec<_> = (0..10_001).map(|_| timed(|| ()).1).collect();
    laps.sort_unstable();
    laps[laps.len() / 2]
}

fn table() {
    let clock = clock_cost();
    println!("ns; the clock's {} ns are subtracted; {DECISIONS} decisions each", clock.as_nanos());
    println!("                                         decision      first token         finished");
    println!("fleet, prompt    blocks   hits       p50     p99      p50     p99      p50     p99");
    for fleet in asked() {
        let mut world = World::warm(fleet);
        (0..DECISIONS).for_each(|_| _ = world.next());
        let Laps { decision, first_token, finished, hits } = &mut world.laps;
        let [decision, first, finished] =
            [decision, first_token, finished].map(|laps| quantiles(laps, clock));
        println!(
            "{:15} {:>8} {:>5.1}%  {:>8}{:>8} {:>8}{:>8} {:>8}{:>8}",
            fleet.name(),
            world.router.indexed_blocks(),
            100.0 * hits.0 as f64 / hits.1 as f64,
            decision[0],
            decision[1],
            first[0],
            first[1],
            finished[0],
            finished[1],
        );
    }
}

/// The fleets that the command line asks for, or all.
#[expect(clippy::disallowed_methods, reason = "a bench is its own shell")]
fn asked() -> impl Iterator<Item = &'static Fleet> {
    let words: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let asked = move |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    FLEETS.iter().filter(move |fleet| asked(&fleet.name()))
}

fn all(criterion: &mut Criterion) {
    table();
    let mut group = criterion.benchmark_group("decision");
    for fleet in asked() {
        let mut world = None;
        group.bench_function(fleet.name(), |bencher| {
            let world = world.get_or_insert_with(|| World::warm(fleet));
            bencher.iter_custom(|rounds| (0..rounds).map(|_| world.next()).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, all);
criterion_main!(benches);
