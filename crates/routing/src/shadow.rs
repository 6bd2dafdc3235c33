//! What a worker that tells nothing probably holds: a block pool of its size, fed with the router's own decisions.
//!
//! The shadow emits the same events into the same index as a worker that tells everything, so nothing behind the index
//! knows the difference. It is wrong where the worker evicts differently; that costs a hit, never an answer.

use warmroute_kv::{BlockHash, BlockPool, Blocks, KvEvents, Tokens};

/// A worker's cache is taken to hold this much until its size is known: 16k blocks of 16 tokens, a small GPU's worth.
const UNKNOWN_CAPACITY: Tokens = Tokens(1 << 18);
/// The pool is resized when the learned size of a block has drifted this far from the one it was sized with.
const DRIFT: f64 = 0.03;

/// One worker's shadow.
#[derive(Debug)]
pub(crate) struct Shadow {
    capacity: Tokens,
    block_tokens: f64,
    pool: BlockPool,
}

/// A prompt as a shadow takes it in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint<'a> {
    pub(crate) root: BlockHash,
    pub(crate) blocks: &'a [BlockHash],
    /// Tokens in one block.
    pub(crate) block_tokens: f64,
}

impl Shadow {
    pub(crate) fn new(capacity: Option<Tokens>) -> Self {
        let capacity = capacity.unwrap_or(UNKNOWN_CAPACITY);
        Self { capacity, block_tokens: 0.0, pool: BlockPool::new(Blocks::ZERO) }
    }

    /// A request with this prompt was sent to the worker.
    pub(crate) fn sent(&mut self, prompt: Footprint<'_>, events: &mut KvEvents) {
        self.fit(prompt.block_tokens, events);
        self.pool.touch(prompt.root, prompt.blocks, events);
    }

    /// It was answered. The answer's text is unknown to the router, but not the room it takes: `extra` tokens after the
    /// prompt's whole blocks, under names that nobody else will ask for (`unique` makes them so).
    pub(crate) fn answered(
        &mut self,
        prompt: Footprint<'_>,
        extra: Tokens,
        unique: u64,
        events: &mut KvEvents,
    ) {
        self.fit(prompt.block_tokens, events);
        let fillers = (extra.as_f64() / prompt.block_tokens) as usize;
        let last = prompt.blocks.last().copied().unwrap_or(prompt.root);
        let filler = std::iter::successors(Some(last.next_text(&unique.to_le_bytes())), |name| {
            Some(name.next_text(&[]))
        });
        let chain: Vec<_> = prompt.blocks.iter().copied().chain(filler.take(fillers)).collect();
        self.pool.touch(prompt.root, &chain, events);
    }

    /// The share of the worker's cache that is in use.
    pub(crate) fn fill(&self) -> f64 {
        self.pool.resident().as_f64() / self.pool.capacity().as_f64().max(1.0)
    }

    fn fit(&mut self, block_tokens: f64, events: &mut KvEvents) {
        if (block_tokens - self.block_tokens).abs() <= DRIFT * self.block_tokens {
            return;
        }
        self.block_tokens = block_tokens;
        let blocks = (self.capacity.as_f64() / block_tokens).floor();
        // `as` saturates: more blocks than u32 holds are as good as u32 holds.
        self.pool.resize(Blocks(blocks as u32), events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: BlockHash = BlockHash(5);

    fn prompt(blocks: &[BlockHash]) -> Footprint<'_> {
        Footprint { root: ROOT, blocks, block_tokens: 16.0 }
    }

    fn chain(text: &str) -> Vec<BlockHash> {
        warmroute_kv::text_chain(ROOT, text.as_bytes(), 1).collect()
    }

    #[test]
    fn an_answer_takes_its_room_from_older_prompts() {
        let mut shadow = Shadow::new(Some(Tokens(4 * 16)));
        let mut events = Vec::new();
        shadow.sent(prompt(&chain("ab")), &mut events);
        shadow.sent(prompt(&chain("x")), &mut events);
        events.clear();
        shadow.answered(prompt(&chain("x")), Tokens(40), 1, &mut events);
        assert!(
            matches!(&events[0], warmroute_kv::KvEvent::Removed { blocks } if *blocks == [chain("ab")[1]]),
            "{events:?}"
        );
        assert_eq!(shadow.fill().to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn a_new_estimate_of_a_blocks_size_changes_how_many_fit() {
        let mut shadow = Shadow::new(Some(Tokens(64)));
        let mut events = Vec::new();
        shadow.sent(prompt(&chain("abcd")), &mut events);
        events.clear();
        shadow.sent(Footprint { block_tokens: 32.0, ..prompt(&chain("a")) }, &mut events);
        let gone: Vec<_> = chain("abcd").into_iter().skip(2).rev().collect();
        assert_eq!(
            events,
            [warmroute_kv::KvEvent::Removed { blocks: gone }],
            "two blocks of 32 tokens are left"
        );
    }
}
