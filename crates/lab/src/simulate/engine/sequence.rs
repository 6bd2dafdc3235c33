//! A request inside an engine: what it is made of, and how far it has come.

use warmroute_kv::{BlockHash, Lease, Tokens};

use crate::traffic::Ask;

/// A request by its place in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::simulate) struct RequestId(pub(in crate::simulate) usize);

/// A request that waits to be computed.
#[derive(Clone, Debug)]
pub(in crate::simulate) struct Job {
    pub(in crate::simulate) id: RequestId,
    pub(in crate::simulate) ask: Ask,
    /// Tokens of the answer so far: none, unless it lost its memory while it was answered.
    pub(super) generated: u32,
    /// Prompt tokens that were found in the cache when it was first begun.
    pub(super) cached: Option<Tokens>,
}

impl Job {
    /// A request that has just come.
    pub(in crate::simulate) const fn new(id: RequestId, ask: Ask) -> Self {
        Self { id, ask, generated: 0, cached: None }
    }

    /// Tokens whose state is needed before the next token can be told.
    pub(super) fn length(&self) -> u32 {
        self.ask.prompt.0 + self.generated
    }
}

/// A request that is being computed.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) job: Job,
    pub(super) lease: Lease,
    /// Tokens whose state is there.
    pub(super) computed: u32,
    /// Tokens that the step in hand computes.
    pub(super) planned: u32,
    /// The name of the last whole block.
    last: BlockHash,
}

impl Sequence {
    /// Begins a request of whose blocks in `lease` the first `found` were in the cache.
    pub(super) fn at(job: Job, lease: Lease, found: usize, block: u32) -> Self {
        let content = &job.ask.content;
        let last = found.checked_sub(1).map_or(content.root, |before| content.blocks[before]);
        Self { computed: found as u32 * block, planned: 0, last, lease, job }
    }

    /// Tokens to compute before the next one can be told.
    pub(super) fn left(&self) -> u32 {
        self.job.length() - self.computed
    }

    /// Whether its prompt has been read, so that each step tells one more token.
    pub(super) fn is_answering(&self) -> bool {
        self.job.generated > 0 && self.left() == 1
    }

    /// The name of the next whole block: the content's, or one that nobody else will ask for.
    pub(super) fn next_name(&mut self) -> BlockHash {
        let place = self.lease.sealed();
        let known = self.job.ask.content.blocks.get(place).copied();
        self.last = known.unwrap_or_else(|| self.last.next_text(&self.job.id.0.to_le_bytes()));
        self.last
    }
}
