//! A request inside the engine: its tokens so far, the names of its whole blocks, and how much of it is computed.

use warmroute_kv::{BlockHash, Lease, TokenId};

use super::answer::{Answer, AnswerOptions};

/// Names a request within one engine. Later requests have larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A request as it enters the engine.
#[derive(Clone, Debug)]
pub struct Job {
    /// The namespace in which its blocks may be shared.
    pub root: BlockHash,
    /// The salt in it.
    pub salt: Option<Box<str>>,
    /// At least one token, each below the vocabulary's size.
    pub prompt: Vec<TokenId>,
    /// What is asked of the answer.
    pub options: AnswerOptions,
    /// How many messages about the cache whoever sent it here had heard, if that was said.
    pub heard: Option<u64>,
}

/// One whole block of a sequence.
#[derive(Clone, Debug)]
pub(super) struct WholeBlock {
    pub(super) hash: BlockHash,
    pub(super) tokens: Box<[TokenId]>,
}

/// A request that waits, for the first time or after preemption.
#[derive(Debug)]
pub(super) struct Sequence<T> {
    pub(super) id: RequestId,
    pub(super) root: BlockHash,
    /// Prompt and answer.
    pub(super) tokens: Vec<TokenId>,
    pub(super) prompt: usize,
    pub(super) heard: Option<u64>,
    /// The whole blocks of `tokens`.
    pub(super) blocks: Vec<WholeBlock>,
    /// Prompt tokens found in the cache when first admitted.
    pub(super) cached: Option<usize>,
    pub(super) answer: Answer<T>,
}

impl<T: Default> Sequence<T> {
    pub(super) fn new(id: RequestId, job: Job, block_tokens: usize) -> Self {
        let Job { root, prompt, options, heard, salt: _ } = job;
        debug_assert!(!prompt.is_empty(), "an empty prompt has no last token to compute logits from");
        let answer = Answer::new(options);
        let mut sequence = Self {
            id,
            root,
            prompt: prompt.len(),
            tokens: prompt,
            heard,
            blocks: Vec::new(),
            cached: None,
            answer,
        };
        sequence.name_blocks(block_tokens);
        sequence
    }

    pub(super) fn push(&mut self, token: TokenId, block_tokens: usize) {
        self.tokens.push(token);
        self.name_blocks(block_tokens);
    }

    /// The blocks that may come from the cache. The last token is always computed, for its logits.
    pub(super) fn reusable(&self, block_tokens: usize) -> &[WholeBlock] {
        &self.blocks[..(self.tokens.len() - 1) / block_tokens]
    }

    fn name_blocks(&mut self, block_tokens: usize) {
        for block in self.tokens.chunks_exact(block_tokens).skip(self.blocks.len()) {
            let parent = self.blocks.last().map_or(self.root, |block| block.hash);
            self.blocks.push(WholeBlock { hash: parent.next_tokens(block), tokens: block.into() });
        }
    }
}

/// An admitted sequence with the cache blocks it holds.
#[derive(Debug)]
pub(super) struct Running<T> {
    pub(super) sequence: Sequence<T>,
    pub(super) lease: Lease,
    /// Leading tokens whose keys and values are in the store.
    pub(super) computed: usize,
}

impl<T> Running<T> {
    /// Tokens known but not computed; at least one between steps.
    pub(super) fn pending(&self) -> usize {
        self.sequence.tokens.len() - self.computed
    }

    /// Whether this sequence is about to compute and share a block that `other` needs and the cache lacks: block number
    /// `resident` of `other` is the first that is not in the cache.
    pub(super) fn will_share(&self, other: &[WholeBlock], resident: usize) -> bool {
        let wanted = other.get(resident);
        wanted.is_some_and(|wanted| {
            self.sequence.blocks.get(resident).is_some_and(|own| own.hash == wanted.hash)
        }) && self.lease.sealed() <= resident
    }
}
