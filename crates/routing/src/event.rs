//! What the router is told.

use std::iter::Sum;
use std::num::NonZeroU32;
use std::sync::Arc;

use warmroute_kv::{BlockHash, BlockLength, KvEvent, Tokens};

use crate::request::{BookingId, Request, Unit, WorkerId};

/// Something that happened to the fleet or to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A worker takes requests from now on. One that was there already has restarted: its cache is taken for empty.
    Joined {
        /// Who.
        worker: WorkerId,
        /// What it is.
        spec: WorkerSpec,
    },
    /// A worker is gone. What is booked on it stays booked until its requests end, whichever way they do.
    Left {
        /// Who.
        worker: WorkerId,
    },
    /// A worker finishes what it has and takes no new requests.
    Drained {
        /// Who.
        worker: WorkerId,
    },
    /// A worker that was drained takes new requests again; its cache is as it was.
    Resumed {
        /// Who.
        worker: WorkerId,
    },
    /// A worker fails lately: it is given new requests only where all workers fail.
    Suspected {
        /// Who.
        worker: WorkerId,
    },
    /// A worker that was suspected is taken for a good one again.
    Trusted {
        /// Who.
        worker: WorkerId,
    },
    /// A worker takes so many requests at once, or as many as there are. It stays so when the worker joins anew.
    Seated {
        /// Who.
        worker: WorkerId,
        /// How many, at least one.
        seats: Option<u32>,
    },
    /// A request was retried on another worker, usually the first of its decision's fallbacks.
    Moved {
        /// Which request.
        booking: BookingId,
        /// Where it is now.
        to: WorkerId,
    },
    /// The first token of an answer came: the prompt has been read.
    FirstToken {
        /// Whose answer.
        booking: BookingId,
    },
    /// An answer is complete.
    Finished {
        /// Whose answer.
        booking: BookingId,
        /// What the worker reported, if it did.
        usage: Option<Usage>,
    },
    /// A request ended without a complete answer: its client left, its worker died, or it was refused.
    Aborted {
        /// Which request.
        booking: BookingId,
    },
    /// What the other gateways have under way on a worker; replaces what was told before.
    Elsewhere {
        /// Who.
        worker: WorkerId,
        /// Their part of its work, as far as it is known.
        load: Elsewhere,
    },
    /// Another gateway has sent a worker a request, for the first time or after it was at another one. Where the worker publishes nothing
    /// its shadow takes the prompt in, and nothing is booked; where it publishes, its own events will say so.
    Sent {
        /// Which request.
        request: Distant,
        /// Who was sent it.
        worker: WorkerId,
        /// What.
        prompt: Prompt,
    },
    /// The prompt of such a request was read: its worker keeps it until the request ends.
    Read {
        /// Which request.
        request: Distant,
    },
    /// Such a request has ended.
    Ended {
        /// Which request.
        request: Distant,
        /// What the worker reported, if its answer is complete and it did.
        usage: Option<Usage>,
    },
    /// Nothing more is heard of what this gateway has sent until now.
    Unheard {
        /// Which gateway.
        gateway: u64,
    },
    /// A worker has this place among all workers, by an order in which every gateway has them, such as that of their names. Its number says
    /// so until this is told; it stays so when the worker joins anew.
    Placed {
        /// Who.
        worker: WorkerId,
        /// Where, from zero.
        place: u32,
    },
    /// So much of the traffic is this gateway's, from now on; all of it, until this is told.
    Shared {
        /// Its part.
        part: Part,
    },
    /// Somebody else speaks for a worker's cache from now on. What was known of it is forgotten; what is booked on it stays. Nothing
    /// changes if it is who speaks already.
    Told {
        /// Whose cache.
        worker: WorkerId,
        /// Who speaks for it.
        publishes: Publishes,
    },
    /// A worker told what its cache did.
    Kv {
        /// Who.
        worker: WorkerId,
        /// What.
        event: KvEvent,
    },
    /// A worker that numbers what it tells of its cache has been heard up to here.
    Heard {
        /// Who.
        worker: WorkerId,
        /// The number of its next message; `None` where several publishers number theirs, each for itself.
        messages: Option<u64>,
    },
}

/// What a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    /// Tokens its KV cache holds, if known.
    pub capacity: Option<Tokens>,
    /// Whether it tells what its cache does.
    pub publishes: Publishes,
}

/// Who speaks for a worker's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publishes {
    /// The worker itself, by [`Event::Kv`].
    Events,
    /// Nobody: the router keeps a shadow of its cache.
    Nothing,
}

/// A request of another gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distant {
    /// Whose, by any number that no two gateways have.
    pub gateway: u64,
    /// By that gateway's own name for it.
    pub booking: BookingId,
}

/// A prompt as far as caches go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The name before the first block.
    pub root: BlockHash,
    /// The prompt's whole blocks.
    pub blocks: Arc<[BlockHash]>,
    /// What `block` counts.
    pub unit: Unit,
    /// How long blocks are.
    pub block: BlockLength,
}

impl Prompt {
    /// That of a request.
    pub fn of(request: &Request<'_>) -> Self {
        let Request { root, blocks, unit, block, .. } = *request;
        Self { root, blocks: blocks.into(), unit, block }
    }
}

/// Work that other gateways have put on a worker. It adds to this gateway's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Requests that have not ended.
    pub in_flight: u32,
    /// Those of them whose first token has not come.
    pub unread: u32,
    /// The uncached prompt tokens of these.
    pub queued: Tokens,
    /// Tokens of KV state that they need on average over their time, what several share counted once.
    pub active: Tokens,
    /// The same, with what they share counted for each.
    pub context: Tokens,
}

/// One gateway of several that share the same workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which, from zero.
    pub which: u32,
    /// Of how many.
    pub of: NonZeroU32,
}

impl Part {
    /// A gateway that has the workers for itself.
    pub const ALL: Self = Self { which: 0, of: NonZeroU32::MIN };

    /// Whether this gateway is the first to fill the worker at `place`. Each worker has one such gateway, so that gateways which decide at
    /// the same time, and cannot know of each other's decisions, decide for different ones.
    pub fn is_first_at(self, place: u32) -> bool {
        place % self.of == self.which % self.of
    }
}

impl Default for Part {
    fn default() -> Self {
        Self::ALL
    }
}

impl Sum for Elsewhere {
    fn sum<I: Iterator<Item = Self>>(loads: I) -> Self {
        loads.fold(Self::default(), |sum, load| Self {
            in_flight: sum.in_flight.saturating_add(load.in_flight),
            unread: sum.unread.saturating_add(load.unread),
            queued: sum.queued + load.queued,
            active: sum.active + load.active,
            context: sum.context + load.context,
        })
    }
}

/// What a worker reported of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: Tokens,
    /// Prompt tokens it did not have to compute; not every engine tells.
    pub cached: Option<Tokens>,
    /// Tokens of the answer.
    pub output: Tokens,
}
