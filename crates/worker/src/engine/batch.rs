//! The batch planner over the paged cache: which sequences run, which wait, and what one step computes.
//!
//! A step admits waiting sequences, gives every running sequence its next tokens, shares each block as soon as it is
//! full, and returns what came of it. It comes in two halves, since what the first one evicts is to be told before the second one
//! takes its time. No clock, channel or thread here: the same jobs in the same order give the same steps.
//!
//! Where evictions are told some time before they happen, their blocks are withdrawn by [`give_notice`](Engine::give_notice), and a
//! sequence that needs more room than has been given notice of waits for it.
//!
//! Progress: the sequence admitted first is never preempted for a later one, the edge refuses what cannot fit into the
//! empty cache, and a sequence alone in the engine may evict everything else. So the first always finishes.

use super::inference::Inference;
use super::plan::plan;
use super::sequence::{Job, RequestId, Running, Sequence};
use super::step::{Scheduled, StepReport, Update, Used};
use super::waiting::{Line, Pool};
use crate::model::Span;
use warmroute_kv::{BlockHash, Blocks, KvEvents, TokenId};

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

    /// Blocks that are kept ready where evictions are told before they happen, so that a prompt which is mostly cached need not wait: at
    /// most a thirty-second of the cache.
    fn spare(&self) -> usize {
        (self.capacity.get() / 32).min(16)
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
    pool: Pool,
    waiting: Line<M::Text>,
    /// In order of admission.
    running: Vec<Running<M::Text>>,
}

impl<M: Inference> Engine<M> {
    /// An engine with an empty cache. The model's store must have room for `limits.capacity` blocks.
    pub fn new(model: M, limits: Limits) -> Self {
        let (pool, waiting) = (Pool::new(limits.capacity), Line::new(limits.block_tokens));
        Self { model, limits, pool, waiting, running: Vec::new() }
    }

    /// Queues a job; ids must increase. The job must fit: prompt and answer within [`Limits::longest`]. Returns what came back into the
    /// cache for it.
    pub fn submit(&mut self, id: RequestId, job: Job) -> KvEvents {
        debug_assert!(job.prompt.len() < self.limits.longest(), "the edge refuses what can never fit");
        let (sequence, mut events) = (Sequence::new(id, job, self.limits.block_tokens), KvEvents::new());
        self.waiting.join(sequence, &mut self.pool, &mut events);
        events
    }

    /// Drops every sequence that is not `wanted` and frees its blocks; what it had shared stays in the cache.
    pub fn retain(&mut self, wanted: impl Fn(RequestId) -> bool) {
        self.waiting.retain(&wanted, &mut self.pool);
        for gone in self.running.extract_if(.., |running| !wanted(running.sequence.id)) {
            self.pool.release(gone.lease);
        }
    }

    /// Forgets every cached block that no running sequence holds.
    pub fn clear_cache(&mut self) -> KvEvents {
        let mut events = KvEvents::new();
        while self.waiting.yields(0, &mut self.pool) {}
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

    /// Blocks held by sequences that run or wait.
    pub fn blocks_in_use(&self) -> Blocks {
        self.pool.capacity() - self.pool.available()
    }

    /// Share of the cache held by sequences that run or wait, 0 to 1.
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

    /// Withdraws what the next steps will need room for, in so far as that can be foreseen; `mark` is the number of the message that is to
    /// tell of it.
    pub fn give_notice(&mut self, mark: u64) -> KvEvents {
        self.waiting.look(OVERTAKEN_AT_MOST, &mut self.pool);
        let mut wanted = self.running.len();
        for place in 0..OVERTAKEN_AT_MOST.min(self.limits.max_running - self.running.len()) {
            let Some((sequence, resident)) = self.waiting.at(place) else { break };
            if self.comes_by_itself(sequence, resident) {
                continue;
            }
            let missing = self.missing(sequence, resident);
            if !self.is_free(place, wanted + missing) {
                break;
            }
            wanted += missing;
        }
        let mut events = KvEvents::new();
        self.pool.withdraw(wanted + self.limits.spare(), mark, &mut events);
        events
    }

    /// The first half of a step: admits, and makes room for what the second half, [`compute`](Self::compute), is to write. Where notice is
    /// given of evictions, who is admitted takes only what was withdrawn before the mark `passed`.
    pub fn schedule(&mut self, passed: Option<u64>) -> Scheduled {
        let mut report = StepReport::default();
        self.waiting.look(OVERTAKEN_AT_MOST, &mut self.pool);
        self.admit(passed, &mut report);
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
    fn admit(&mut self, passed: Option<u64>, report: &mut StepReport) {
        let mut place = 0;
        while self.running.len() < self.limits.max_running
            && place < self.waiting.len().min(OVERTAKEN_AT_MOST)
        {
            match self.reserve(place, passed, &mut report.events) {
                Ok(()) => self.run(place, report),
                Err(Later::Share) => place += 1,
                Err(Later::Room) => return,
            }
        }
    }

    /// Takes blocks for what the cache lacks of a waiting sequence.
    fn reserve(&mut self, place: usize, passed: Option<u64>, events: &mut KvEvents) -> Result<(), Later> {
        let Some((sequence, resident)) = self.waiting.at(place) else { return Err(Later::Room) };
        if self.comes_by_itself(sequence, resident) {
            return Err(Later::Share);
        }
        let missing = self.missing(sequence, resident);
        // One more block for each that runs, so that admitting this one does not at once preempt it.
        if !self.is_free(place, missing + self.running.len()) {
            return Err(Later::Room);
        }
        if passed.is_some_and(|passed| self.pool.ready(passed) < missing)
            || !self.waiting.grow(place, missing, &mut self.pool, events)
        {
            return Err(Later::Room);
        }
        Ok(())
    }

    /// Whether somebody at this place of the line may have so many blocks. Where somebody runs, room will come; where nobody does, those
    /// behind the first make it.
    fn is_free(&mut self, place: usize, blocks: usize) -> bool {
        while self.pool.available().get() < blocks {
            let first = place == 0 && self.running.is_empty();
            if !(first && self.waiting.yields(1, &mut self.pool)) {
                return false;
            }
        }
        true
    }

    /// Blocks that a sequence lacks of which so many are in the cache.
    fn missing(&self, sequence: &Sequence<M::Text>, resident: usize) -> usize {
        sequence.tokens.len().div_ceil(self.limits.block_tokens) - resident
    }

    /// Whether one that runs is about to share what a sequence lacks.
    fn comes_by_itself(&self, sequence: &Sequence<M::Text>, resident: usize) -> bool {
        let reusable = sequence.reusable(self.limits.block_tokens);
        self.running.iter().any(|running| running.will_share(reusable, resident))
    }

    fn run(&mut self, place: usize, report: &mut StepReport) {
        let (mut sequence, lease) = self.waiting.leave(place).expect("room was reserved for it");
        let computed = lease.sealed() * self.limits.block_tokens;
        if sequence.cached.is_none() {
            sequence.cached = Some(computed);
            report.admitted.push((sequence.prompt, computed));
        }
        self.running.push(Running { sequence, lease, computed });
    }

    /// Grants tokens and makes sure that every granted token has a place. Where the pool is full, what is held for those who wait yields;
    /// then the sequence admitted last loses its blocks and waits again. It keeps its tokens and computes them anew, mostly from the cache.
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
            if self.waiting.yields(0, &mut self.pool) {
                continue;
            }
            let last = self.running.pop().expect("the sequence that found no room is still there");
            granted.pop();
            self.pool.release(last.lease);
            self.waiting.rejoin(last.sequence, &mut self.pool);
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

/// Gives every block that is wholly computed to the cache.
fn seal_full_blocks<T>(
    pool: &mut Pool,
    running: &mut Running<T>,
    block_tokens: usize,
    events: &mut KvEvents,
) {
    let full = running.computed / block_tokens;
    for block in &running.sequence.blocks[running.lease.sealed().min(full)..full] {
        pool.seal(&mut running.lease, block.hash, block.tokens.clone(), events);
    }
}
