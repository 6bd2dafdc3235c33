//! What is asked of the router and what it answers.

use std::borrow::Cow;
use std::fmt;
use std::hash::Hasher;

use warmroute_kv::{BlockHash, BlockLength, Tokens};

/// A worker of the fleet, by the number its driver gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u32);

/// One routed request, from its decision to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BookingId(pub u64);

/// What prompts and blocks are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Tokens, where the driver has the workers' tokenizer.
    Tokens,
    /// Raw bytes of the request; the router learns how many tokens they make.
    Bytes,
}

/// A request as far as routing goes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The name before the first block: model, adapter, salt and tools.
    pub root: BlockHash,
    /// The prompt's whole blocks.
    pub blocks: &'a [BlockHash],
    /// What `prompt` and `block` count.
    pub unit: Unit,
    /// Length of the prompt, its last partial block included.
    pub prompt: usize,
    /// How long blocks are.
    pub block: BlockLength,
    /// Tokens the answer may have; zero if nobody knows.
    pub output: Tokens,
    /// The first characters of the prompt's text, for policies that look at nothing else.
    pub text: Text<'a>,
    /// A hash of whatever names the conversation or user: a header, or a field of the body.
    pub session: Option<u64>,
    /// Whether the driver will tell of its first token, as it can where the answer is streamed.
    pub tells_first_token: bool,
    /// The only workers that may take it, in order of their ids: those that serve its model, or the one that keeps its state. `None`
    /// is everybody.
    pub among: Option<&'a [WorkerId]>,
    /// Nothing of it can be in a cache: whoever has the fewest requests takes it, whatever the policy, and nothing is learned from it of
    /// prompts and answers.
    pub by_load: bool,
}

impl<'a> Request<'a> {
    /// A request of whole 16-token blocks, to be refined by struct update.
    pub const fn new(root: BlockHash, blocks: &'a [BlockHash]) -> Self {
        let prompt = blocks.len() * 16;
        Self {
            root,
            blocks,
            unit: Unit::Tokens,
            prompt,
            block: BlockLength::even(16),
            output: Tokens::ZERO,
            text: Text::Known(""),
            session: None,
            tells_first_token: true,
            among: None,
            by_load: false,
        }
    }
}

impl Request<'_> {
    /// The tokens that an engine takes from its cache at most, where prompts are counted in tokens: whole blocks, and never the last
    /// token, whose output is the next. vLLM, SGLang and our own workers agree in this.
    pub fn most_reusable(&self) -> Option<Tokens> {
        let whole = self.block.of(self.block.whole_in(self.prompt.saturating_sub(1)));
        (self.unit == Unit::Tokens).then(|| Tokens::of(whole))
    }
}

/// The first characters of a prompt's text. Most policies never ask for them, and to find them costs the driver time.
#[derive(Clone, Copy)]
pub enum Text<'a> {
    /// Found already. May be empty.
    Known(&'a str),
    /// Found when a policy asks. Must say the same every time.
    Asked(&'a dyn Fn() -> Cow<'a, str>),
}

impl<'a> Text<'a> {
    /// The characters.
    pub fn start(self) -> Cow<'a, str> {
        match self {
            Self::Known(text) => Cow::Borrowed(text),
            Self::Asked(find) => find(),
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.start().fmt(out)
    }
}

/// Where a request goes, and why. The work is booked on `worker` until the booking is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Under this name the driver tells what became of the request.
    pub booking: BookingId,
    /// The chosen worker.
    pub worker: WorkerId,
    /// Where to go next if it cannot be reached, best first.
    pub fallbacks: Vec<WorkerId>,
    /// Prompt tokens that the worker is believed to take from its cache when it comes to the prompt.
    pub overlap: Tokens,
    /// Where that is what the worker itself told of its cache, and not a guess: what else it counts on.
    pub told: Option<Standing>,
    /// Prompt tokens; an estimate where the request came in bytes.
    pub prompt: Tokens,
    /// What became of the prompt's tokens.
    pub fate: Fate,
    /// What decided.
    pub reason: Reason,
    /// The policy that decided.
    pub policy: &'static str,
}

/// What a decision counts on that believes what its worker told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many were made for this worker before it, in the same belief; their prompts are to be read before its own.
    pub nth: u64,
    /// How many messages about its cache had been heard of the worker, if it numbers them.
    pub heard: Option<u64>,
}

/// What a decision made of the prompt's tokens; the parts add up to the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// The chosen worker is believed to hold them.
    pub hit: Tokens,
    /// Another worker holds them, and waiting there would have cost more.
    pub lost_to_load: Tokens,
    /// They were sent lately, and no worker holds them any more.
    pub lost_to_eviction: Tokens,
    /// They were not sent before, as far as is remembered.
    pub unseen: Tokens,
}

/// What decided for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It was the only one that could take it.
    Only,
    /// It holds more of the prompt than any that had less to do.
    Prefix,
    /// It holds less of the prompt than another, but the wait there would cost more than the saving.
    Spill,
    /// Nobody holds a useful part of the prompt, and it has the least to do.
    LeastLoad,
    /// A hash of the prompt points there.
    Hash,
    /// It was its turn.
    Rotation,
    /// A draw.
    Chance,
}

impl Reason {
    /// Every reason, for metric labels and documentation.
    pub const ALL: [Self; 7] =
        [Self::Only, Self::Prefix, Self::Spill, Self::LeastLoad, Self::Hash, Self::Rotation, Self::Chance];

    /// The reason as headers, logs and metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::Prefix => "prefix",
            Self::Spill => "spill",
            Self::LeastLoad => "least_load",
            Self::Hash => "hash",
            Self::Rotation => "rotation",
            Self::Chance => "chance",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// There is nobody to send the request to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWorker {
    /// No worker has joined, or all have left.
    #[error("no worker is reachable; hint: start one, or check the workers' addresses and their /health")]
    Unreachable,
    /// All workers are finishing what they have and take no more.
    #[error("every worker is draining; hint: wait until one is back or add another")]
    Draining,
    /// All workers that could take it have as many requests as they take at once.
    #[error("every worker is full; hint: wait until a request has ended, or add a worker")]
    Full,
}

/// Spreads the numbers of workers and bookings over a hash map. Our own drivers and the router give them, so nobody can choose
/// them to collide.
#[derive(Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
