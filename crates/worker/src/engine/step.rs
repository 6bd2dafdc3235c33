//! What a step of the engine is and what comes of it.

use warmroute_kv::{KvEvents, TokenId};
use warmroute_openai::response::FinishReason;

use super::sequence::RequestId;

/// What a request used, known when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Tokens in the prompt.
    pub prompt: usize,
    /// Of those, tokens that were not computed because the cache held them at admission.
    pub cached: usize,
    /// Tokens in the answer.
    pub answer: usize,
}

/// One token of one answer.
#[derive(Debug)]
pub struct Update {
    /// The token.
    pub token: TokenId,
    /// Text that is certain by now; may be empty.
    pub text: String,
    /// Why the answer ended and what it used, with its last token.
    pub finish: Option<(FinishReason, Used)>,
}

/// What one step did.
#[derive(Debug, Default)]
pub struct StepReport {
    /// One entry per sequence that got a token.
    pub updates: Vec<(RequestId, Update)>,
    /// Changes of the cache.
    pub events: KvEvents,
    /// Prompts admitted for the first time: length and cached tokens.
    pub admitted: Vec<(usize, usize)>,
    /// Tokens computed.
    pub computed: usize,
    /// Sequences that lost their blocks to older ones and wait again.
    pub preempted: usize,
}

/// A step that has been decided on and not yet computed.
#[derive(Debug)]
#[must_use = "admitted sequences wait for it to be computed"]
pub struct Scheduled {
    pub(super) report: StepReport,
    /// Tokens for each running sequence.
    pub(super) granted: Vec<usize>,
}

impl Scheduled {
    /// What was evicted for it.
    pub fn events(&mut self) -> &mut KvEvents {
        &mut self.report.events
    }

    /// Whether there is nothing to compute: who waits, waits for room that has been given notice of.
    pub fn is_idle(&self) -> bool {
        self.granted.iter().all(|tokens| *tokens == 0)
    }
}
