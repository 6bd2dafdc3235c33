//! The work that is under way: one booking per request, from its decision to its end, released exactly once.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use warmroute_kv::{BlockHash, Tokens};

use crate::event::{Prompt, Usage};
use crate::fleet::Work;
use crate::request::{BookingId, NumberHasher, Request, Unit, WorkerId};
use crate::scale::{Block, Scale};
use crate::shadow::Footprint;
use crate::time::Time;

/// A prompt is promised to others if more than this share of it is new to its worker: less is not worth the book-keeping.
const PROMISED_SHARE: f64 = 0.125;

/// What a request has booked.
#[derive(Debug)]
pub(crate) struct Booking {
    pub(crate) worker: WorkerId,
    /// When it was booked there.
    pub(crate) since: Time,
    /// Prompt tokens, estimated until the worker reports them.
    pub(crate) prompt: Tokens,
    /// Prompt tokens that the worker is believed to hold.
    pub(crate) overlap: Tokens,
    /// Prompt tokens that were said to be taken from the cache: the same, corrected by what the worker's reports make of such beliefs.
    pub(crate) predicted: Tokens,
    /// Prompt tokens that were sent lately, to whomever.
    pub(crate) remembered: Tokens,
    /// Tokens that its answer will have, by the estimate of the time.
    pub(crate) output: Tokens,
    /// The last block of the prompt that the worker is believed to hold.
    pub(crate) overlap_end: Option<BlockHash>,
    /// What its first token waits for, its own prompt included.
    pub(crate) work: Work,
    /// Whether its first token will be told of.
    pub(crate) tells: bool,
    /// Whether the prompt is still to be read.
    pub(crate) waiting: bool,
    /// Whether others count on its worker holding the prompt soon.
    pub(crate) promised: bool,
    /// Whether the index has had all of the prompt at its worker since: what it lacks of it now was evicted and is not on its way.
    pub(crate) told: bool,
    /// Whether no cache can hold anything of it.
    pub(crate) by_load: bool,
    /// The prompt's length in bytes, where that is what the driver counts.
    pub(crate) bytes: Option<usize>,
    /// How to measure in its blocks.
    pub(crate) block: Block,
    root: BlockHash,
    blocks: Box<[BlockHash]>,
}

impl Booking {
    /// What `request` books on `worker` at the time of the decision; the router fills in what it knows beside.
    pub(crate) fn new(request: &Request<'_>, scale: &Scale, worker: WorkerId, since: Time) -> Self {
        Self {
            worker,
            since,
            prompt: scale.prompt(request),
            overlap: Tokens::ZERO,
            predicted: Tokens::ZERO,
            remembered: Tokens::ZERO,
            output: scale.output(request),
            overlap_end: None,
            work: Work::default(),
            tells: request.tells_first_token,
            waiting: true,
            promised: false,
            told: false,
            by_load: request.by_load,
            bytes: (request.unit == Unit::Bytes).then_some(request.prompt),
            block: scale.block(request),
            root: request.root,
            blocks: request.blocks.into(),
        }
    }

    /// Prompt tokens that the worker has to compute.
    pub(crate) fn uncached(&self) -> Tokens {
        self.prompt - self.overlap
    }

    /// What its first token waited for, by what its answer says of the cache.
    pub(crate) fn work_after(&self, usage: Option<&Usage>) -> Work {
        let read =
            usage.and_then(|usage| Some(usage.prompt - usage.cached?)).unwrap_or_else(|| self.uncached());
        Work { tokens: self.work.tokens - self.uncached().as_f64() + read.as_f64(), ..self.work }
    }

    /// Tokens of KV state that it needs, on average over its time: the prompt, and half of the answer.
    pub(crate) fn context(&self) -> Tokens {
        self.prompt + Tokens(self.output.0 / 2)
    }

    /// Notes that the first `blocks` blocks of the prompt, `overlap` tokens, are believed to be on its worker.
    pub(crate) fn overlaps(&mut self, blocks: usize, overlap: Tokens) {
        self.overlap = overlap;
        self.told = blocks == self.blocks.len();
        self.overlap_end = blocks.checked_sub(1).map(|last| self.blocks[last]);
    }

    /// Whether so much of its prompt is new to its worker that others had better know it is coming.
    pub(crate) fn is_worth_promising(&self) -> bool {
        self.waiting && self.uncached().as_f64() > PROMISED_SHARE * self.prompt.as_f64()
    }

    /// Whether prompts that were sent before it had all been read when it was sent.
    pub(crate) fn was_first_in_line(&self) -> bool {
        self.work.tokens <= self.uncached().as_f64()
    }

    /// Whether blocks that came in at its worker complete its prompt.
    pub(crate) fn ends_in(&self, stored: &[BlockHash]) -> bool {
        self.blocks.last().is_none_or(|last| stored.contains(last))
    }

    /// The prompt as other gateways are told of it.
    pub(crate) fn as_told(&self) -> Prompt {
        let unit = if self.bytes.is_some() { Unit::Bytes } else { Unit::Tokens };
        Prompt { root: self.root, blocks: (&*self.blocks).into(), unit, block: self.block.length() }
    }

    /// The prompt as shadows take it in.
    pub(crate) fn footprint(&self) -> Footprint<'_> {
        Footprint { root: self.root, blocks: &self.blocks, block: self.block }
    }
}

/// All bookings. A name is given once and never again, so that a late or doubled end finds nothing.
#[derive(Debug, Default)]
pub(crate) struct Bookings {
    open: HashMap<BookingId, Booking, BuildHasherDefault<NumberHasher>>,
    next: u64,
}

impl Bookings {
    /// The name of the next booking.
    pub(crate) fn next_id(&mut self) -> BookingId {
        let id = BookingId(self.next);
        self.next += 1;
        id
    }

    /// Opens a booking, for the first time or again after it was closed to be changed.
    pub(crate) fn open(&mut self, id: BookingId, booking: Booking) {
        self.open.insert(id, booking);
    }

    pub(crate) fn get(&self, id: BookingId) -> Option<&Booking> {
        self.open.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: BookingId) -> Option<&mut Booking> {
        self.open.get_mut(&id)
    }

    pub(crate) fn close(&mut self, id: BookingId) -> Option<Booking> {
        self.open.remove(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}
