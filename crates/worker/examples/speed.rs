//! How fast a model runs here on one thread: prefill, decode, and the first token of a long prompt cold and
//! warm.
//!
//! `cargo run --release -p warmroute-worker --example speed -- [MODEL] [CACHED TOKENS]`; the model as for
//! `warmroute worker --model`, by default the embedded one; 1,000 cached tokens by default. Each number is
//! the best of several runs; beside the time on the clock stands the time this thread was on a processor,
//! which a busy machine disturbs less.

use std::error::Error;
use std::time::{Duration, Instant};

use warmroute_kv::{BlockHash, BlockPool, Blocks, Slot, TokenId};
use warmroute_worker::model::{BLOCK_TOKENS, KvStore, Model, Scratch, Span, load};

/// As the worker cuts prompts by default.
const CHUNK: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let source = arguments.next().unwrap_or_else(|| "embedded".to_owned());
    let cached: usize = arguments.next().map_or(Ok(1_000), |count| count.parse())?;
    let begun = Instant::now();
    let loaded = load(&source.parse()?)?;
    println!("{}: loaded in {:.2} s", loaded.name, begun.elapsed().as_secs_f64());

    // A question after a cached text: the last block is new and only partly full, the rest is whole blocks.
    let cached = cached / BLOCK_TOKENS * BLOCK_TOKENS;
    let prompt: Vec<TokenId> =
        (0..cached + 11).map(|at| (at * 7919 % loaded.model.vocabulary()) as TokenId).collect();
    let mut bench = Bench::new(&loaded.model, prompt.len() + 64)?;

    let cold = best(5, || bench.prompt(&prompt, 0));
    println!("first token of {} tokens, cold: {cold}", prompt.len());
    println!(
        "prefill: {:.0} tokens/s ({:.0} per processor second)",
        cold.per_second(prompt.len()),
        cold.per_cpu_second(prompt.len())
    );
    let warm = best(20, || bench.prompt(&prompt, cached));
    println!("first token with {cached} cached: {warm}");
    println!("warm / cold: 1/{:.1} ({:.1} by processor time)", cold.clock / warm.clock, cold.cpu / warm.cpu);
    for context in [64, prompt.len()] {
        let decode = best(5, || (0..32).for_each(|step| bench.step(&prompt[step..=step], context + step)));
        println!(
            "decode after {context} tokens: {:.2} ms/token ({:.2} ms on a processor)",
            decode.clock * 1e3 / 32.0,
            decode.cpu * 1e3 / 32.0
        );
    }
    Ok(())
}

/// Seconds on the clock and on a processor.
struct Taken {
    clock: f64,
    cpu: f64,
}

impl Taken {
    fn per_second(&self, tokens: usize) -> f64 {
        tokens as f64 / self.clock
    }

    fn per_cpu_second(&self, tokens: usize) -> f64 {
        tokens as f64 / self.cpu
    }
}

impl std::fmt::Display for Taken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.1} ms ({:.1} ms on a processor)", self.clock * 1e3, self.cpu * 1e3)
    }
}

/// The fastest of `runs` on the clock, and the mean processor time, whose counter is coarse.
fn best(runs: u32, mut act: impl FnMut()) -> Taken {
    act();
    let mut clock = f64::INFINITY;
    let cpu = on_processor();
    for _ in 0..runs {
        let begun = Instant::now();
        act();
        clock = clock.min(begun.elapsed().as_secs_f64());
    }
    Taken { clock, cpu: (on_processor() - cpu).as_secs_f64() / f64::from(runs) }
}

/// How long this thread has been on a processor; nothing where Linux's /proc is missing.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0))
}

struct Bench<'a> {
    model: &'a Model,
    store: KvStore,
    slots: Vec<Slot>,
    scratch: Scratch,
}

impl<'a> Bench<'a> {
    fn new(model: &'a Model, tokens: usize) -> Result<Self, Box<dyn Error>> {
        let blocks = Blocks(u32::try_from(tokens.div_ceil(BLOCK_TOKENS))?);
        let mut pool: BlockPool<()> = BlockPool::new(blocks);
        let mut lease = pool.begin(BlockHash(0), std::iter::empty::<(BlockHash, &())>());
        pool.grow(&mut lease, blocks.0 as usize, &mut Vec::new())?;
        let slots = lease.slots().to_vec();
        pool.release(lease);
        Ok(Self { model, store: model.new_store(blocks), slots, scratch: Scratch::default() })
    }

    fn step(&mut self, tokens: &[TokenId], start: usize) {
        let span = Span { slots: &self.slots, start, tokens, logits: true };
        std::hint::black_box(self.model.forward(&[span], &mut self.store, &mut self.scratch));
    }

    /// What a prompt with `cached` tokens in the store costs until its first token.
    fn prompt(&mut self, prompt: &[TokenId], cached: usize) {
        for (number, chunk) in prompt[cached..].chunks(CHUNK).enumerate() {
            let start = cached + number * CHUNK;
            let logits = start + chunk.len() == prompt.len();
            let span = Span { slots: &self.slots, start, tokens: chunk, logits };
            std::hint::black_box(self.model.forward(&[span], &mut self.store, &mut self.scratch));
        }
    }
}
