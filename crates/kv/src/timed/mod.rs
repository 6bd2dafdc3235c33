//! A serving engine that only keeps time: continuous batching with chunked prefill over a real block pool.
//!
//! Each step computes one token for every request that is being answered and up to a chunk of prompt tokens, first come
//! first served. A request is admitted when the pool has room for its whole prompt; one whose answer outgrows the pool takes
//! the memory of the one admitted last, which begins again later. These are vLLM's rules, without its refinements.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use self::sequence::Sequence;
pub use self::sequence::{Job, RequestId, Work};
pub use self::step_time::{EngineModel, Load, StepTime};
use crate::event::KvEvents;
use crate::pool::BlockPool;
use crate::units::{Blocks, Tokens};

mod sequence;
mod step_time;
#[cfg(test)]
mod tests;

/// Tokens computed in one step at most, answers included, if nobody says otherwise; vLLM's default.
pub const CHUNK_TOKENS: Tokens = Tokens(8_192);
/// Requests computed in one step at most, if nobody says otherwise; vLLM's default for servers.
pub const MOST_REQUESTS: usize = 256;
/// A prompt is admitted only if this share of the cache stays free, so that the answers under way can grow.
const HEADROOM: f64 = 0.01;

/// What an engine is.
#[derive(Clone, Copy, Debug)]
pub struct EngineSpec {
    /// How long its steps take.
    pub steps: StepTime,
    /// Tokens its cache holds.
    pub cache: Tokens,
    /// Tokens in a block.
    pub block: Tokens,
    /// Tokens computed in one step at most, answers included.
    pub chunk: Tokens,
    /// Requests computed in one step at most.
    pub most_requests: usize,
}

impl EngineSpec {
    /// An engine with vLLM's bounds on a step.
    pub const fn new(steps: StepTime, cache: Tokens, block: Tokens) -> Self {
        Self { steps, cache, block, chunk: CHUNK_TOKENS, most_requests: MOST_REQUESTS }
    }
}

/// What an engine tells at the end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A prompt was read and its first token told; so many of its tokens were found in the cache.
    FirstToken {
        /// Whose.
        id: RequestId,
        /// Of the prompt.
        cached: Tokens,
    },
    /// An answer is complete.
    Done {
        /// Whose.
        id: RequestId,
    },
    /// A prompt that is larger than the cache.
    Refused {
        /// Whose.
        id: RequestId,
    },
}

/// One engine.
#[derive(Debug)]
pub struct Engine<W> {
    spec: EngineSpec,
    /// Its cache.
    pub pool: BlockPool,
    waiting: VecDeque<Job<W>>,
    /// In the order in which they were admitted.
    running: Vec<Sequence<W>>,
    /// Whether the oldest waiting request found no room and nothing was let go since.
    stuck: bool,
    stepping: bool,
    /// What its cache did and has not been taken yet.
    pub events: KvEvents,
    /// Steps take this many times as long as the model says.
    pub slowness: f64,
    /// Prompt tokens computed so far, again ones included.
    pub prefilled: u64,
    /// Times a request lost its memory.
    pub preemptions: usize,
}

impl<W: Work> Engine<W> {
    /// An idle engine with an empty cache.
    pub fn new(spec: EngineSpec) -> Self {
        Self {
            spec,
            pool: BlockPool::new(Blocks(spec.cache.0 / spec.block.0)),
            waiting: VecDeque::new(),
            running: Vec::new(),
            stuck: false,
            stepping: false,
            events: KvEvents::new(),
            slowness: 1.0,
            prefilled: 0,
            preemptions: 0,
        }
    }

    /// A request has come.
    pub fn enqueue(&mut self, job: Job<W>) {
        self.waiting.push_back(job);
    }

    /// Requests that it has.
    pub fn jobs(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    /// Requests that hold memory.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Who is being answered, and the tokens of each answer so far.
    pub fn answers(&self) -> impl Iterator<Item = (RequestId, u32)> + '_ {
        let answering = self.running.iter().filter(|sequence| sequence.job.generated > 0);
        answering.map(|sequence| (sequence.job.id, sequence.job.generated))
    }

    /// Nobody waits for this request any more: it gives back its memory, and what it had shared stays in the cache.
    /// Between two steps or within one.
    pub fn cancel(&mut self, id: RequestId) {
        self.waiting.retain(|job| job.id != id);
        if let Some(place) = self.running.iter().position(|sequence| sequence.job.id == id) {
            let sequence = self.running.remove(place);
            self.pool.release(sequence.lease);
        }
        self.stuck = false;
    }

    /// Begins the next step, if none is in hand and there is something to do: how long it will take.
    pub fn begin_step(&mut self, signals: &mut Vec<Signal>) -> Option<Duration> {
        if self.stepping {
            return None;
        }
        let budget = self.plan_running();
        self.admit(budget, signals);
        if self.running.is_empty() {
            return None;
        }
        self.stepping = true;
        Some(self.spec.steps.of(&self.load(), self.spec.cache.0).mul_f64(self.slowness))
    }

    /// Whose whole blocks the step in hand will have computed, and which: places in the chain of prompt and answer.
    pub fn finishing(&self) -> impl Iterator<Item = (&W, Range<usize>)> {
        self.running.iter().map(|sequence| {
            let computed = sequence.computed + sequence.planned;
            (&sequence.job.ask, sequence.lease.sealed()..(computed / self.spec.block.0) as usize)
        })
    }

    /// Ends the step in hand.
    pub fn end_step(&mut self, signals: &mut Vec<Signal>) {
        self.stepping = false;
        let mut ended = Vec::new();
        for (place, sequence) in self.running.iter_mut().enumerate() {
            if !sequence.is_answering() {
                self.prefilled += u64::from(sequence.planned);
            }
            sequence.computed += std::mem::take(&mut sequence.planned);
            while sequence.lease.sealed() < (sequence.computed / self.spec.block.0) as usize {
                let name = sequence.next_name();
                self.pool.seal(&mut sequence.lease, name, (), &mut self.events);
            }
            if sequence.left() > 0 {
                continue;
            }
            sequence.job.generated += 1;
            let id = sequence.job.id;
            if sequence.job.generated == 1 {
                let cached = sequence.job.cached.unwrap_or_default();
                signals.push(Signal::FirstToken { id, cached });
            }
            if sequence.job.generated >= sequence.job.ask.answer().0 {
                signals.push(Signal::Done { id });
                ended.push(place);
            }
        }
        for place in ended.into_iter().rev() {
            let sequence = self.running.remove(place);
            self.pool.release(sequence.lease);
            self.stuck = false;
        }
    }

    /// The engine dies: its cache is gone, and these requests with it, in the order in which they came.
    pub fn die(&mut self) -> Vec<Job<W>> {
        let running = std::mem::take(&mut self.running);
        let jobs = running.into_iter().map(|sequence| {
            self.pool.release(sequence.lease);
            sequence.job
        });
        let mut jobs: Vec<Job<W>> = jobs.collect();
        jobs.extend(self.waiting.drain(..));
        self.pool.clear(&mut self.events);
        self.stepping = false;
        self.stuck = false;
        jobs
    }

    /// Plans the next tokens of everything admitted; what is left of the step's tokens.
    fn plan_running(&mut self) -> u32 {
        let mut budget = self.spec.chunk.0;
        let mut place = 0;
        while place < self.running.len() {
            let sequence = &mut self.running[place];
            sequence.planned = sequence.left().min(budget);
            let tokens = sequence.computed + sequence.planned;
            if self.fit(place, tokens) {
                budget -= self.running[place].planned;
                place += 1;
            }
        }
        budget
    }

    /// Gives the sequence at `place` room for `tokens` tokens, at the cost of those admitted last; false if it was itself
    /// the last and had to give way.
    fn fit(&mut self, place: usize, tokens: u32) -> bool {
        let needed = Tokens(tokens).in_blocks(self.spec.block).get();
        loop {
            let sequence = &mut self.running[place];
            let missing = needed.saturating_sub(sequence.lease.len());
            if missing == 0 || self.pool.grow(&mut sequence.lease, missing, &mut self.events).is_ok() {
                return true;
            }
            let last = self.running.pop().expect("there is a sequence at `place`");
            self.pool.release(last.lease);
            self.waiting.push_front(last.job);
            self.preemptions += 1;
            self.stuck = false;
            if self.running.len() == place {
                return false;
            }
        }
    }

    fn admit(&mut self, mut budget: u32, signals: &mut Vec<Signal>) {
        while budget > 0 && self.running.len() < self.spec.most_requests && !self.stuck {
            let Some(job) = self.waiting.pop_front() else { return };
            let needed = Tokens(job.length() + 1).in_blocks(self.spec.block);
            if needed > self.pool.capacity() {
                signals.push(Signal::Refused { id: job.id });
                continue;
            }
            match self.begin(job, needed.get()) {
                Ok(mut sequence) => {
                    sequence.planned = sequence.left().min(budget);
                    budget -= sequence.planned;
                    self.running.push(sequence);
                }
                Err(job) => {
                    self.waiting.push_front(job);
                    self.stuck = true;
                }
            }
        }
    }

    /// Takes the longest prefix in the cache and room for the rest, or gives the job back.
    fn begin(&mut self, mut job: Job<W>, needed: usize) -> Result<Sequence<W>, Job<W>> {
        // The last token is always computed: its output is the answer's next.
        let reusable = ((job.length() - 1) / self.spec.block.0) as usize;
        let chain = job.ask.blocks().iter().take(reusable).map(|name| (*name, &()));
        let mut lease = self.pool.begin(job.ask.root(), chain);
        let found = lease.len();
        let headroom = if self.running.is_empty() { 0.0 } else { HEADROOM * self.pool.capacity().as_f64() };
        let room = self.pool.available().get().saturating_sub(headroom as usize);
        let grown =
            needed - found <= room && self.pool.grow(&mut lease, needed - found, &mut self.events).is_ok();
        if !grown {
            self.pool.release(lease);
            return Err(job);
        }
        job.cached.get_or_insert(Tokens(found as u32 * self.spec.block.0));
        Ok(Sequence::at(job, lease, found, self.spec.block.0))
    }

    fn load(&self) -> Load {
        let mut load = Load { requests: self.running.len(), ..Load::default() };
        for sequence in &self.running {
            if sequence.is_answering() {
                load.decodes += 1;
                load.context += u64::from(sequence.computed);
            } else {
                let planned = u64::from(sequence.planned);
                load.prefill += sequence.planned;
                load.attended += planned * u64::from(sequence.computed) + planned * planned / 2;
            }
        }
        load
    }
}
