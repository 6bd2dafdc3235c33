//! The router in virtual time, before workers with real block pools: does it keep caches warm and work even?
//!
//! Workers here answer one request after the other: reading an uncached token takes 0.1 ms, an answer 16 ms.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use warmroute_kv::{BlockHash, BlockPool, Blocks, Tokens, token_chain};
use warmroute_routing::policy::PolicyConfig;
use warmroute_routing::{
    BookingId, Chance, Event, Publishes, Request, Router, Settings, Time, Usage, WorkerId, WorkerSpec,
};

const BLOCK: usize = 16;
const ROOT: BlockHash = BlockHash(0);
const ANSWER: Tokens = Tokens(16);

/// What a run came to.
#[derive(Debug, Default)]
struct Outcome {
    hit: u64,
    /// What one cache that forgets nothing would have hit.
    oracle: u64,
    served: Vec<u64>,
    waited: Duration,
}

impl Outcome {
    fn of_oracle(&self) -> f64 {
        self.hit as f64 / self.oracle as f64
    }

    fn busiest_over_mean(&self) -> f64 {
        let all: u64 = self.served.iter().sum();
        *self.served.iter().max().expect("there are workers") as f64 * self.served.len() as f64 / all as f64
    }
}

struct Worker {
    cache: BlockPool,
    free_at: Time,
}

/// A fleet, and the requests under way in order of their next step.
struct World {
    router: Router,
    publishes: Publishes,
    workers: Vec<Worker>,
    /// When, which request, and whether it is its end or its first token.
    under_way: BinaryHeap<Reverse<(Time, BookingId, bool)>>,
    usages: BTreeMap<BookingId, Usage>,
    seen: BTreeSet<BlockHash>,
    now: Time,
    outcome: Outcome,
}

impl World {
    fn new(policy: &str, workers: u32, capacity: Tokens, publishes: Publishes) -> Self {
        let policy: PolicyConfig = policy.parse().expect("a registered policy");
        let mut router = Router::new(Settings { policy, seed: 5, ..Settings::default() });
        for id in 0..workers {
            let spec = WorkerSpec { capacity: Some(capacity), publishes };
            router.observe(Event::Joined { worker: WorkerId(id), spec }, Time::ZERO);
        }
        let worker =
            || Worker { cache: BlockPool::new(Blocks(capacity.0 / BLOCK as u32)), free_at: Time::ZERO };
        Self {
            router,
            publishes,
            workers: (0..workers).map(|_| worker()).collect(),
            under_way: BinaryHeap::new(),
            usages: BTreeMap::new(),
            seen: BTreeSet::new(),
            now: Time::ZERO,
            outcome: Outcome { served: vec![0; workers as usize], ..Outcome::default() },
        }
    }

    /// Runs the prompts with `clients` clients, each sending the next prompt as soon as its answer is complete.
    fn run(mut self, prompts: Vec<Vec<u32>>, clients: usize) -> Outcome {
        let mut prompts = VecDeque::from(prompts);
        for _ in 0..clients {
            self.send(prompts.pop_front());
        }
        while let Some(Reverse((at, booking, last))) = self.under_way.pop() {
            self.now = at;
            if last {
                let usage = self.usages.remove(&booking);
                self.router.observe(Event::Finished { booking, usage }, at);
                self.send(prompts.pop_front());
            } else {
                self.router.observe(Event::FirstToken { booking }, at);
            }
        }
        assert_eq!(self.router.in_flight(), 0);
        self.outcome
    }

    fn send(&mut self, prompt: Option<Vec<u32>>) {
        let Some(prompt) = prompt else { return };
        let chain: Vec<_> = token_chain(ROOT, &prompt, BLOCK).collect();
        let request = Request { prompt: prompt.len(), output: ANSWER, ..Request::new(ROOT, &chain) };
        let decision = self.router.route(&request, self.now).expect("all workers are up");
        let cached = self.serve(decision.worker, &chain, prompt.len(), decision.booking);
        let worker = &mut self.workers[decision.worker.0 as usize];
        let reading = Duration::from_micros(100) * (prompt.len() - cached) as u32;
        let first = worker.free_at.max(self.now) + reading;
        worker.free_at = first + Duration::from_millis(16);
        self.outcome.waited += first.since(self.now);
        self.under_way.push(Reverse((first, decision.booking, false)));
        self.under_way.push(Reverse((worker.free_at, decision.booking, true)));
        let usage =
            Usage { prompt: Tokens::of(prompt.len()), cached: Some(Tokens::of(cached)), output: ANSWER };
        self.usages.insert(decision.booking, usage);
    }

    /// What the worker's cache does with a request; tokens that it need not compute.
    fn serve(&mut self, id: WorkerId, chain: &[BlockHash], prompt: usize, booking: BookingId) -> usize {
        // The engine computes at least the last token, and its answer takes room too.
        let reusable = &chain[..(prompt - 1) / BLOCK];
        let answer = chain.last().unwrap_or(&ROOT).next_text(&booking.0.to_le_bytes());
        let kept: Vec<_> = chain.iter().copied().chain([answer]).collect();
        let mut events = Vec::new();
        let cache = &mut self.workers[id.0 as usize].cache;
        let cached = cache.longest_prefix(reusable.iter().map(|hash| (*hash, &()))) * BLOCK;
        cache.touch(ROOT, &kept, &mut events);
        if self.publishes == Publishes::Events {
            for event in events {
                self.router.observe(Event::Kv { worker: id, event }, self.now);
            }
        }
        self.outcome.hit += cached as u64;
        self.outcome.oracle +=
            (reusable.iter().take_while(|hash| self.seen.contains(hash)).count() * BLOCK) as u64;
        self.outcome.served[id.0 as usize] += 1;
        self.seen.extend(chain);
        cached
    }
}

/// Writes prompts that have nothing in common but what is copied.
struct Writer(u32);

impl Writer {
    fn text(&mut self, length: usize) -> Vec<u32> {
        let start = self.0;
        self.0 += length as u32;
        (start..self.0).collect()
    }
}

/// Twelve system prompts of 500 to 900 tokens that begin with the same `common` ones, 24 questions each, shuffled; and
/// two fifths of the system prompts' size.
fn desks(seed: u64, common: usize) -> (Vec<Vec<u32>>, Tokens) {
    let mut chance = Chance::new(seed);
    let mut writer = Writer(0);
    let shared = writer.text(common);
    let mut system = || [shared.clone(), writer.text(500 + chance.below(400) - common)].concat();
    let systems: Vec<Vec<u32>> = (0..12).map(|_| system()).collect();
    let set: usize = systems.iter().map(Vec::len).sum();
    let mut order: Vec<usize> = (0..12 * 24).map(|question| question % 12).collect();
    for place in (1..order.len()).rev() {
        order.swap(place, chance.below(place + 1));
    }
    let mut ask = |desk: usize| [systems[desk].clone(), writer.text(15 + chance.below(20))].concat();
    (order.into_iter().map(&mut ask).collect(), Tokens::of(set * 2 / 5))
}

fn run_desks(policy: &str, seed: u64, common: usize, publishes: Publishes) -> Outcome {
    let (prompts, capacity) = desks(seed, common);
    World::new(policy, 3, capacity, publishes).run(prompts, 4)
}

/// One client leaves no request in flight to tell workers apart, and one worker alone held the first words of all prompts:
/// it got every desk, and lost each before its next question.
#[test]
fn a_few_common_tokens_do_not_draw_every_prompt_to_one_worker() {
    for seed in 0..20 {
        let (prompts, capacity) = desks(seed, 30);
        let outcome = World::new("cache_aware", 3, capacity, Publishes::Nothing).run(prompts, 1);
        assert!(outcome.busiest_over_mean() <= 1.25, "seed {seed}: {outcome:?}");
        assert!(outcome.of_oracle() >= 0.95, "seed {seed}: {:.3} of {outcome:?}", outcome.of_oracle());
    }
}

/// Twenty seeds, since the order of the first visits decides how well twelve desks can be shared out: the mean must be
/// near the oracle, and no seed far from it.
#[test]
fn cache_aware_keeps_desks_warm_and_workers_even() {
    for (common, publishes) in
        [0, 30].into_iter().flat_map(|c| [(c, Publishes::Nothing), (c, Publishes::Events)])
    {
        let mut of_oracle = Vec::new();
        for seed in 0..20 {
            let outcome = run_desks("cache_aware", seed, common, publishes);
            let world = format!("seed {seed}, {common} tokens in common, {publishes:?}: {outcome:?}");
            assert!(outcome.of_oracle() >= 0.94, "hits {:.3} of the oracle's: {world}", outcome.of_oracle());
            assert!(outcome.busiest_over_mean() <= 1.25, "uneven: {world}");
            let random = run_desks("random", seed, common, publishes);
            assert!(random.waited > 3 * outcome.waited, "random waited {:?}: {world}", random.waited);
            of_oracle.push(outcome.of_oracle());
        }
        let mean = of_oracle.iter().sum::<f64>() / of_oracle.len() as f64;
        assert!(mean >= 0.98, "hits {mean:.3} of the oracle's over {of_oracle:.3?}");
    }
}

#[test]
fn a_common_beginning_sends_every_prompt_to_one_worker_under_prefix_hash() {
    let outcome = run_desks("prefix_hash", 1, 30, Publishes::Nothing);
    assert_eq!(outcome.busiest_over_mean(), 3.0, "{outcome:?}");
}

/// One prefix in 70 % of all requests, more than one worker can serve.
#[test]
fn a_hot_prefix_is_spread_as_soon_as_waiting_costs_more_than_copying() {
    let mut writer = Writer(0);
    let mut chance = Chance::new(3);
    let hot = writer.text(2_000);
    let mut prompt =
        |_| if chance.below(10) < 7 { [hot.clone(), writer.text(20)].concat() } else { writer.text(400) };
    let prompts: Vec<_> = (0..400).map(&mut prompt).collect();
    for publishes in [Publishes::Nothing, Publishes::Events] {
        let world = |policy| World::new(policy, 4, Tokens(100_000), publishes).run(prompts.clone(), 12);
        let (ours, even) = (world("cache_aware"), world("least_loaded"));
        assert!(ours.busiest_over_mean() <= 1.25, "{ours:?}");
        assert!(ours.waited <= even.waited.mul_f64(1.03), "ours {ours:?} against least_loaded {even:?}");
    }
}
