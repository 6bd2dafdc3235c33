//! The batch planner over the paged cache: which sequences run, which wait, and what one step computes.
//!
//! A step admits waiting sequences, gives every running sequence its next tokens, shares each block as soon as it is
//! full, and returns what came of it. It comes in two halves, since what the first one evicts is to be told before the second one
//! takes its time. No clock, channel or thread here: the same jobs in the same order give the same steps.
//!
//! A prompt's cached beginning counts as used from its arrival on, not from its turn: whoever sent it here did so for that beginning, and
//! other sequences' blocks are to be evicted first.
//!
//! Progress: the sequence admitted first is never preempted for a later one, the edge refuses what cannot fit into the
//! empty cache, and a sequence alone in the engine may evict everything else. So the first always finishes.

use std::collections::VecDeque;

use warmroute_kv::{BlockHash, BlockPool, Blocks, KvEvents, Lease, TokenId};
use warmroute_openai::response::FinishReason;

use super::inference::Inference;
use super::plan::plan;
use super::sequence::{Job, RequestId, Running, Sequence, WholeBlock};
use crate::model::Span;

/// The bounds of one engine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tokens in a cache block.
    pub block_tokens: usize,
    /// Blocks in the cache.
    pub capacity: Blocks,
    /// Prompt tokens computed in one step, over all sequences.
    pub prefill_tokens: usize,
    /// Sequences that run at the same time.
    pub max_running: usize,
}

impl Limits {
    /// The longest sequence, prompt and answer, that fits into an otherwise empty cache.
    pub fn longest(&self) -> usize {
        self.capacity.get() * self.block_tokens
    }
}

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
    report: StepReport,
    /// Tokens for each running sequence.
    granted: Vec<usize>,
}

impl Scheduled {
    /// What was evicted for it.
    pub fn events(&mut self) -> &mut KvEvents {
        &mut self.report.events
    }
}

/// Sequences that may wait for others' blocks while younger ones pass; bounds the look-ups of a step.
const OVERTAKEN_AT_MOST: usize = 16;

/// Why a waiting sequence is not admitted yet.
enum Later {
    /// The pool lacks room.
    Room,
    /// A running sequence is about to share the very next block it needs: computing it twice would cost more than the wait.
    Share,
}

/// The engine of one worker.
#[derive(Debug)]
pub struct Engine<M: Inference> {
    model: M,
    limits: Limits,
    pool: BlockPool<Box<[TokenId]>>,
    /// In order of arrival; preempted sequences return to the front.
    waiting: VecDeque<Sequence<M::Text>>,
    /// In order of admission.
    running: Vec<Running<M::Text>>,
}

impl<M: Inference> Engine<M> {
    /// An engine with an empty cache. The model's store must have room for `limits.capacity` blocks.
    pub fn new(model: M, limits: Limits) -> Self {
        let pool = BlockPool::new(limits.capacity);
        Self { model, limits, pool, waiting: VecDeque::new(), running: Vec::new() }
    }

    /// Queues a job; ids must increase. The job must fit: prompt and answer within [`Limits::longest`].
    pub fn submit(&mut self, id: RequestId, job: Job) {
        debug_assert!(job.prompt.len() < self.limits.longest(), "the edge refuses what can never fit");
        let sequence = Sequence::new(id, job, self.limits.block_tokens);
        // Taken and let go at once, it is the most recently used.
        let beginning = pinned(&mut self.pool, sequence.root, sequence.reusable(self.limits.block_tokens));
        self.pool.release(beginning);
        self.waiting.push_back(sequence);
    }

    /// Drops every sequence that is not `wanted` and frees its blocks; what it had shared stays in the cache.
    pub fn retain(&mut self, wanted: impl Fn(RequestId) -> bool) {
        self.waiting.retain(|sequence| wanted(sequence.id));
        for gone in self.running.extract_if(.., |running| !wanted(running.sequence.id)) {
            self.pool.release(gone.lease);
        }
    }

    /// Forgets every cached block that no running sequence holds.
    pub fn clear_cache(&mut self) -> KvEvents {
        let mut events = KvEvents::new();
        self.pool.clear(&mut events);
        events
    }

    /// Whether a step would do anything.
    pub fn is_busy(&self) -> bool {
        !(self.running.is_empty() && self.waiting.is_empty())
    }

    /// Sequences that hold cache blocks.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Blocks held by running sequences.
    pub fn blocks_in_use(&self) -> Blocks {
        self.pool.capacity() - self.pool.available()
    }

    /// Share of the cache held by running sequences, 0 to 1.
    pub fn cache_usage(&self) -> f64 {
        self.blocks_in_use().as_f64() / self.pool.capacity().as_f64()
    }

    /// The tokens of a block in the cache.
    pub fn tokens_of(&self, block: BlockHash) -> Option<&[TokenId]> {
        self.pool.content(block).map(|tokens| &**tokens)
    }

    /// The model, for tests that look at what it was asked.
    #[cfg(test)]
    pub(super) fn model(&self) -> &M {
        &self.model
    }

    /// The first half of a step: admits, and makes room for what the second half, [`compute`](Self::compute), is to write.
    pub fn schedule(&mut self) -> Scheduled {
        let mut report = StepReport::default();
        self.admit(&mut report);
        let granted = self.make_room(&mut report);
        Scheduled { report, granted }
    }

    /// The second half: computes, shares, and tells; events of the first half that were not taken come along.
    pub fn compute(&mut self, scheduled: Scheduled) -> StepReport {
        let Scheduled { mut report, granted } = scheduled;
        let rows = self.forward(&granted);
        report.computed = granted.iter().sum();
        self.settle(&granted, rows, &mut report);
        report
    }

    /// Takes sequences in order of arrival. One that had better wait for another's blocks lets those behind it pass; one
    /// for which there is no room does not, or large ones would starve.
    fn admit(&mut self, report: &mut StepReport) {
        let mut place = 0;
        while self.running.len() < self.limits.max_running
            && place < self.waiting.len().min(OVERTAKEN_AT_MOST)
        {
            match self.reserve(place, &mut report.events) {
                Ok(lease) => self.run(place, lease, report),
                Err(Later::Share) => place += 1,
                Err(Later::Room) => return,
            }
        }
    }

    /// Pins the cached prefix of a waiting sequence and takes blocks for the rest of its tokens.
    fn reserve(&mut self, place: usize, events: &mut KvEvents) -> Result<Lease, Later> {
        let sequence = &self.waiting[place];
        let reusable = sequence.reusable(self.limits.block_tokens);
        let mut lease = pinned(&mut self.pool, sequence.root, reusable);
        let resident = lease.sealed();
        let missing = sequence.tokens.len().div_ceil(self.limits.block_tokens) - resident;
        // One more block for each that runs, so that admitting this one does not at once preempt it.
        let crowded = self.pool.available().get() < missing + self.running.len();
        let later = if self.running.iter().any(|running| running.will_share(reusable, resident)) {
            Later::Share
        } else if crowded || self.pool.grow(&mut lease, missing, events).is_err() {
            Later::Room
        } else {
            return Ok(lease);
        };
        self.pool.release(lease);
        Err(later)
    }

    fn run(&mut self, place: usize, lease: Lease, report: &mut StepReport) {
        let mut sequence = self.waiting.remove(place).expect("room was reserved for it");
        let computed = lease.sealed() * self.limits.block_tokens;
        if sequence.cached.is_none() {
            sequence.cached = Some(computed);
            report.admitted.push((sequence.prompt, computed));
        }
        self.running.push(Running { sequence, lease, computed });
    }

    /// Grants tokens and makes sure that every granted token has a place. Where the pool is full, the sequence admitted last
    /// loses its blocks and waits again; it keeps its tokens and computes them anew, mostly from the cache.
    fn make_room(&mut self, report: &mut StepReport) -> Vec<usize> {
        let pending: Vec<usize> = self.running.iter().map(Running::pending).collect();
        let mut granted = plan(&pending, self.limits.prefill_tokens);
        let mut place = 0;
        while place < self.running.len() {
            let running = &mut self.running[place];
            let needed = (running.computed + granted[place]).div_ceil(self.limits.block_tokens);
            let lacking = needed.saturating_sub(running.lease.len());
            if lacking == 0 || self.pool.grow(&mut running.lease, lacking, &mut report.events).is_ok() {
                place += 1;
                continue;
            }
            let last = self.running.pop().expect("the sequence that found no room is still there");
            granted.pop();
            self.pool.release(last.lease);
            self.waiting.push_front(last.sequence);
            report.preempted += 1;
        }
        granted
    }

    fn forward(&mut self, granted: &[usize]) -> Vec<Vec<f32>> {
        let spans: Vec<Span<'_>> = self
            .running
            .iter()
            .zip(granted)
            .filter(|(_, tokens)| **tokens > 0)
            .map(|(running, &tokens)| Span {
                slots: running.lease.slots(),
                start: running.computed,
                tokens: &running.sequence.tokens[running.computed..running.computed + tokens],
                logits: tokens == running.pending(),
            })
            .collect();
        if spans.is_empty() { Vec::new() } else { self.model.forward(&spans) }
    }

    /// Shares full blocks and takes a token from every row of logits.
    fn settle(&mut self, granted: &[usize], rows: Vec<Vec<f32>>, report: &mut StepReport) {
        let mut rows = rows.into_iter();
        for (running, &tokens) in self.running.iter_mut().zip(granted) {
            running.computed += tokens;
            seal_full_blocks(&mut self.pool, running, self.limits.block_tokens, &mut report.events);
            if running.pending() > 0 {
                continue;
            }
            let logits = rows.next().expect("the model returns a row for every span that asked");
            let sequence = &mut running.sequence;
            let advance = sequence.answer.advance(&logits, &self.model);
            sequence.push(advance.token, self.limits.block_tokens);
            let used = || Used {
                prompt: sequence.prompt,
                cached: sequence.cached.unwrap_or(0),
                answer: sequence.answer.tokens(),
            };
            let finish = advance.finish.map(|reason| (reason, used()));
            report.updates.push((sequence.id, Update { token: advance.token, text: advance.text, finish }));
        }
        let finished: Vec<_> =
            report.updates.iter().filter(|(_, update)| update.finish.is_some()).map(|(id, _)| *id).collect();
        if !finished.is_empty() {
            self.retain(|id| !finished.contains(&id));
        }
    }
}

/// Pins what is cached of a sequence.
fn pinned(pool: &mut BlockPool<Box<[TokenId]>>, root: BlockHash, reusable: &[WholeBlock]) -> Lease {
    pool.begin(root, reusable.iter().map(|block| (block.hash, &block.tokens)))
}

/// Gives every block that is wholly computed to the cache.
fn seal_full_blocks<T>(
    pool: &mut BlockPool<Box<[TokenId]>>,
    running: &mut Running<T>,
    block_tokens: usize,
    events: &mut KvEvents,
) {
    let full = running.computed / block_tokens;
    for block in &running.sequence.blocks[running.lease.sealed().min(full)..full] {
        pool.seal(&mut running.lease, block.hash, block.tokens.clone(), events);
    }
}
