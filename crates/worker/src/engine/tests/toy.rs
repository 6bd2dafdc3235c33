//! A model that notices every mistake of the engine.

use warmroute_kv::{BlockHash, Blocks, TokenId};

use crate::engine::Inference;
use crate::model::Span;

/// Tokens in a toy's block.
pub(super) const BLOCK: usize = 4;
const VOCABULARY: u64 = 23;
const END: TokenId = 0;
const POISON: u64 = u64::MAX;

/// Keeps in each cache place a hash of its token and of all places before it, as read through the cache slots; "logits" are a
/// hash of all places. So a wrong slot, a block evicted too early or a prefix not yet computed changes the answer, and
/// goes on changing it for whoever reuses the block.
#[derive(Debug)]
pub(super) struct Toy {
    store: Vec<u64>,
    /// Per step, the tokens of each span.
    pub(super) spans: Vec<Vec<usize>>,
}

impl Toy {
    pub(super) fn new(capacity: Blocks) -> Self {
        Self { store: vec![POISON; capacity.get() * BLOCK], spans: Vec::new() }
    }

    /// The logits after `tokens`, without any cache.
    pub(super) fn row(tokens: impl Iterator<Item = TokenId>) -> Vec<f32> {
        let mut states = Vec::new();
        for token in tokens {
            states.push(state(&states, token));
        }
        logits(&states)
    }

    /// Computes one span alone, in place.
    fn compute(&mut self, span: &Span<'_>) -> Vec<f32> {
        let place = |position: usize| span.slots[position / BLOCK].index() * BLOCK + position % BLOCK;
        let mut states: Vec<u64> = (0..span.start).map(|position| self.store[place(position)]).collect();
        assert!(!states.contains(&POISON), "a place is read that was never written");
        for token in span.tokens {
            let computed = state(&states, *token);
            self.store[place(states.len())] = computed;
            states.push(computed);
        }
        logits(&states)
    }
}

fn seen(states: &[u64]) -> BlockHash {
    states.iter().fold(BlockHash(1), |hash, state| hash.next_text(&state.to_le_bytes()))
}

fn state(before: &[u64], token: TokenId) -> u64 {
    seen(before).next_tokens(&[token]).0
}

fn logits(states: &[u64]) -> Vec<f32> {
    let seen = seen(states);
    (0..VOCABULARY).map(|token| seen.next_text(&token.to_le_bytes()).0 as f32).collect()
}

impl Inference for Toy {
    type Text = ();

    /// The last span first: no span may depend on what another one writes in the same step.
    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Vec<f32>> {
        self.spans.push(batch.iter().map(|span| span.tokens.len()).collect());
        let computed: Vec<_> = batch.iter().rev().map(|span| (span.logits, self.compute(span))).collect();
        computed.into_iter().rev().filter(|(asked, _)| *asked).map(|(_, row)| row).collect()
    }

    fn ends(&self, token: TokenId) -> bool {
        token == END
    }

    fn text(&self, (): &mut (), token: TokenId) -> String {
        char::from(b'a' + u8::try_from(token).unwrap()).to_string()
    }

    fn last_text(&self, (): &mut ()) -> String {
        String::new()
    }
}
