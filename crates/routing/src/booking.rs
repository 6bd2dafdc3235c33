//! The work that is under way: one booking per request, from its decision to its end, released exactly once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use warmroute_kv::{BlockHash, Tokens};

use crate::request::{BookingId, Request, Unit, WorkerId};
use crate::scale::Scale;
use crate::shadow::Footprint;

/// What a request has booked.
#[derive(Debug)]
pub(crate) struct Booking {
    pub(crate) worker: WorkerId,
    /// Prompt tokens, estimated until the worker reports them.
    pub(crate) prompt: Tokens,
    /// Prompt tokens that the worker is believed to hold.
    pub(crate) overlap: Tokens,
    /// Whether the prompt is still to be read.
    pub(crate) waiting: bool,
    /// The prompt's length in bytes, where that is what the driver counts.
    pub(crate) bytes: Option<usize>,
    /// Tokens in one of its blocks, by the estimate of the time.
    pub(crate) block_tokens: f64,
    root: BlockHash,
    blocks: Box<[BlockHash]>,
}

impl Booking {
    pub(crate) fn new(request: &Request<'_>, scale: &Scale, worker: WorkerId, overlap: Tokens) -> Self {
        Self {
            worker,
            prompt: scale.prompt(request),
            overlap,
            waiting: true,
            bytes: (request.unit == Unit::Bytes).then_some(request.prompt),
            block_tokens: request.block as f64 * scale.tokens_per(request.unit),
            root: request.root,
            blocks: request.blocks.into(),
        }
    }

    /// Prompt tokens that the worker has to compute.
    pub(crate) fn uncached(&self) -> Tokens {
        self.prompt - self.overlap
    }

    /// The prompt as shadows take it in.
    pub(crate) fn footprint(&self) -> Footprint<'_> {
        Footprint { root: self.root, blocks: &self.blocks, block_tokens: self.block_tokens }
    }
}

/// All bookings. A name is given once and never again, so that a late or doubled end finds nothing.
#[derive(Debug, Default)]
pub(crate) struct Bookings {
    open: HashMap<BookingId, Booking, BuildHasherDefault<DefaultHasher>>,
    next: u64,
}

impl Bookings {
    pub(crate) fn open(&mut self, booking: Booking) -> BookingId {
        let id = BookingId(self.next);
        self.next += 1;
        self.open.insert(id, booking);
        id
    }

    /// Puts back a booking that was closed to be changed.
    pub(crate) fn reopen(&mut self, id: BookingId, booking: Booking) {
        self.open.insert(id, booking);
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
