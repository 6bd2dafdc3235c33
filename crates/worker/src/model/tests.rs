//! The logits: right (as `transformers` computes them) and the same, bit for bit, however they are come by.

use std::path::Path;

use safetensors::SafeTensors;
use warmroute_kv::{BlockHash, BlockPool, Blocks, Lease, Slot, TokenId};

use super::load::network;
use super::{BLOCK_TOKENS, KvStore, Model, Scratch, Span};

/// A model with random weights and what `transformers` made of one prompt.
struct Fixture {
    model: Model,
    prompt: Vec<TokenId>,
    /// A row per token of the prompt.
    expected: Vec<f32>,
}

fn fixture(name: &str) -> Fixture {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let bytes = std::fs::read(directory.join("expected.safetensors")).expect("the fixture has expectations");
    let tensors = SafeTensors::deserialize(&bytes).expect("it is well-formed");
    let ids = tensors.tensor("input_ids").expect("the prompt");
    let prompt = match ids.dtype().bitsize() {
        64 => ids.data().as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as TokenId).collect(),
        _ => ids.data().as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
    };
    let logits = tensors.tensor("logits").expect("the logits");
    let expected = logits.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Fixture { model: network(&directory).expect("the fixture loads"), prompt, expected }
}

const FIXTURES: [&str; 2] = ["gpt2-random", "llama-random"];

/// A store and slots for as many sequences as a test wants.
struct Cache {
    store: KvStore,
    pool: BlockPool<()>,
    scratch: Scratch,
}

impl Cache {
    fn new(model: &Model) -> Self {
        let capacity = Blocks(256);
        Self { store: model.new_store(capacity), pool: BlockPool::new(capacity), scratch: Scratch::default() }
    }

    fn lease(&mut self, tokens: usize) -> Lease {
        let mut lease = self.pool.begin(BlockHash(0), std::iter::empty::<(BlockHash, &())>());
        self.pool
            .grow(&mut lease, tokens.div_ceil(BLOCK_TOKENS), &mut Vec::new())
            .expect("the pool is large");
        lease
    }

    /// Logits after the last of `tokens`, which follow `start` tokens already there.
    fn step(&mut self, model: &Model, slots: &[Slot], start: usize, tokens: &[TokenId]) -> Vec<f32> {
        let span = Span { slots, start, tokens, logits: true };
        model.forward(&[span], &mut self.store, &mut self.scratch).pop().expect("logits were asked for")
    }
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn logits_agree_with_transformers_at_every_position() {
    for name in FIXTURES {
        let Fixture { model, prompt, expected } = fixture(name);
        let mut cache = Cache::new(&model);
        let lease = cache.lease(prompt.len());
        let mut worst: f32 = 0.0;
        for (position, (token, expected)) in
            prompt.iter().zip(expected.chunks(model.vocabulary())).enumerate()
        {
            let logits = cache.step(&model, lease.slots(), position, &[*token]);
            for (logit, expected) in logits.iter().zip(expected) {
                worst = worst.max((logit - expected).abs());
            }
        }
        assert!(worst < 1e-3, "{name}: the worst logit is off by {worst}");
        cache.pool.release(lease);
    }
}

#[test]
fn a_prompt_gives_the_same_bits_with_any_number_of_cached_blocks() {
    for name in FIXTURES {
        let Fixture { model, prompt, expected } = fixture(name);
        let mut cache = Cache::new(&model);
        let lease = cache.lease(prompt.len());
        let cold = cache.step(&model, lease.slots(), 0, &prompt);
        let last = &expected[expected.len() - model.vocabulary()..];
        for (logit, expected) in cold.iter().zip(last) {
            assert!((logit - expected).abs() < 1e-3, "{name}: {logit} should be {expected}");
        }
        for cached in 0..prompt.len().div_ceil(BLOCK_TOKENS) {
            let start = cached * BLOCK_TOKENS;
            // The rest goes to blocks of its own, as it would in another request.
            let rest = cache.lease(prompt.len() - start);
            let slots = [&lease.slots()[..cached], rest.slots()].concat();
            let warm = cache.step(&model, &slots, start, &prompt[start..]);
            assert_eq!(bits(&warm), bits(&cold), "{name}: with {cached} cached blocks");
            cache.pool.release(rest);
        }
        cache.pool.release(lease);
    }
}

#[test]
fn a_prompt_gives_the_same_bits_however_it_is_cut() {
    for name in FIXTURES {
        let Fixture { model, prompt, .. } = fixture(name);
        let mut cache = Cache::new(&model);
        let whole = cache.lease(prompt.len());
        let cold = cache.step(&model, whole.slots(), 0, &prompt);
        for sizes in [&[1][..], &[7], &[17], &[48], &[5, 64, 1, 13], &[255]] {
            let lease = cache.lease(prompt.len());
            let mut start = 0;
            let mut logits = Vec::new();
            for size in sizes.iter().cycle() {
                let end = (start + size).min(prompt.len());
                logits = cache.step(&model, lease.slots(), start, &prompt[start..end]);
                start = end;
                if start == prompt.len() {
                    break;
                }
            }
            assert_eq!(bits(&logits), bits(&cold), "{name}: in chunks of {sizes:?}");
            cache.pool.release(lease);
        }
    }
}

#[test]
fn a_sequence_gives_the_same_bits_whatever_else_is_in_the_batch() {
    for name in FIXTURES {
        let Fixture { model, prompt, .. } = fixture(name);
        let mut cache = Cache::new(&model);
        let alone: Vec<_> = (1..20)
            .map(|count| {
                let lease = cache.lease(count * 11);
                let logits = cache.step(&model, lease.slots(), 0, &prompt[count..count * 12]);
                cache.pool.release(lease);
                logits
            })
            .collect();
        for together in 2..alone.len() {
            let leases: Vec<_> = (1..=together).map(|count| cache.lease(count * 11)).collect();
            let batch: Vec<_> = leases
                .iter()
                .zip(1..)
                .map(|(lease, count)| Span {
                    slots: lease.slots(),
                    start: 0,
                    tokens: &prompt[count..count * 12],
                    logits: count % 3 != 0,
                })
                .collect();
            let logits = model.forward(&batch, &mut cache.store, &mut cache.scratch);
            let asked = (1..=together).filter(|count| count % 3 != 0);
            for (count, logits) in asked.zip(&logits) {
                assert_eq!(bits(logits), bits(&alone[count - 1]), "{name}: sequence {count} of {together}");
            }
            leases.into_iter().for_each(|lease| cache.pool.release(lease));
        }
    }
}

#[test]
fn nothing_leaks_from_a_slots_last_owner() {
    for name in FIXTURES {
        let Fixture { model, prompt, .. } = fixture(name);
        let mut cache = Cache::new(&model);
        let lease = cache.lease(prompt.len());
        let clean = cache.step(&model, lease.slots(), 0, &prompt[..21]);
        cache.store.poison();
        let after = cache.step(&model, lease.slots(), 0, &prompt[..21]);
        assert_eq!(bits(&after), bits(&clean), "{name}");
        cache.pool.release(lease);
    }
}
