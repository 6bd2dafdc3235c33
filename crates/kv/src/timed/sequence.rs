//! A request inside an engine: what it is made of, and how far it has come.

use crate::hash::BlockHash;
use crate::pool::Lease;
use crate::units::Tokens;

/// What a request is to an engine that only keeps time: the simulator's are entries of a trace, the stand-in worker's come
/// over HTTP.
pub trait Work {
    /// The name before the first block.
    fn root(&self) -> BlockHash;
    /// The names of the whole blocks of prompt and answer, as far as anybody may ask for them again.
    fn blocks(&self) -> &[BlockHash];
    /// Tokens of the prompt, at least one.
    fn prompt(&self) -> Tokens;
    /// Tokens of the answer.
    fn answer(&self) -> Tokens;
}

/// A request by its number: no two in one engine have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub usize);

/// A request that waits to be computed.
#[derive(Clone, Debug)]
pub struct Job<W> {
    /// Who.
    pub id: RequestId,
    /// What.
    pub ask: W,
    /// Tokens of the answer so far: none, unless it lost its memory while it was answered.
    pub(super) generated: u32,
    /// Prompt tokens that were found in the cache when it was first begun.
    pub(super) cached: Option<Tokens>,
}

impl<W> Job<W> {
    /// A request that has just come.
    pub const fn new(id: RequestId, ask: W) -> Self {
        Self { id, ask, generated: 0, cached: None }
    }
}

impl<W: Work> Job<W> {
    /// Tokens whose state is needed before the next token can be told.
    pub(super) fn length(&self) -> u32 {
        self.ask.prompt().0 + self.generated
    }
}

/// A request that is being computed.
#[derive(Debug)]
pub(super) struct Sequence<W> {
    pub(super) job: Job<W>,
    pub(super) lease: Lease,
    /// Tokens whose state is there.
    pub(super) computed: u32,
    /// Tokens that the step in hand computes.
    pub(super) planned: u32,
    /// The name of the last whole block.
    last: BlockHash,
}

impl<W: Work> Sequence<W> {
    /// Begins a request of whose blocks in `lease` the first `found` were in the cache.
    pub(super) fn at(job: Job<W>, lease: Lease, found: usize, block: u32) -> Self {
        let last = found.checked_sub(1).map_or(job.ask.root(), |before| job.ask.blocks()[before]);
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
        let known = self.job.ask.blocks().get(place).copied();
        self.last = known.unwrap_or_else(|| self.last.next_text(&self.job.id.0.to_le_bytes()));
        self.last
    }
}
