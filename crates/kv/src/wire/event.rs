//! KV events as engines mean them: their own hashes, tokens, tiers and groups, whatever dialect they came in.
//!
//! They borrow from the message and from the buffers it was decoded into, and live until the next event is asked for.

use std::hash::{Hash, Hasher};

use super::reader::{Head, Reader};
use crate::units::{TokenId, Tokens};

/// An engine's own name for a block: opaque, and good for nothing but comparing with others of the same engine process.
///
/// Engines send 64-bit numbers, signed ones, or 32 raw bytes. Of the latter the last eight are taken, as vLLM itself does when it is
/// asked for numbers; they are a cryptographic hash, so 64 bits of it are as good as any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EngineHash(pub u64);

/// Stirred, since nothing promises that an engine's numbers are spread over all bits.
impl Hash for EngineHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let stirred = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state.write_u64(stirred ^ (stirred >> 32));
    }
}

/// Where a copy of a block is kept, from dear and fast to cheap and slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The accelerator's own memory.
    #[default]
    Device,
    /// The host's memory.
    Host,
    /// A disk of the host.
    Disk,
    /// Anything that is not the worker's own: object stores, other machines, and media nobody has heard of.
    Remote,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Device, Self::Host, Self::Disk, Self::Remote];

    /// The tier of an engine's word for it. Absent and empty words are the accelerator: the first releases had no other.
    pub fn of_medium(medium: Option<&str>) -> Self {
        match medium {
            None | Some("" | "GPU") => Self::Device,
            Some("CPU" | "CPU_PINNED") => Self::Host,
            Some("DISK" | "STORAGE" | "FS") => Self::Disk,
            Some(_) => Self::Remote,
        }
    }

    /// vLLM's word for it.
    pub const fn medium(self) -> &'static str {
        match self {
            Self::Device => "GPU",
            Self::Host => "CPU",
            Self::Disk => "STORAGE",
            Self::Remote => "OBJ",
        }
    }

    /// For labels and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Host => "host",
            Self::Disk => "disk",
            Self::Remote => "remote",
        }
    }
}

/// What kind of attention a group of layers has. Only where it looks at the whole prompt does a block answer for its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionKind {
    /// The whole prompt; also latent attention, and with sinks.
    Full,
    /// A window, a chunk, a state, or something newer.
    Partial,
}

impl AttentionKind {
    /// The kind of vLLM's word for it.
    pub(super) fn of_word(word: &str) -> Self {
        match word {
            "full_attention" | "mla_attention" | "sink_full_attention" => Self::Full,
            _ => Self::Partial,
        }
    }
}

/// Which of an engine's caches an event is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Home {
    /// Where.
    pub tier: Tier,
    /// The group of layers; engines with one kind of attention may not tell.
    pub group: Option<u32>,
}

/// The adapter that a block was computed with; neither is set without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lora<'a> {
    /// Its number within the engine; older releases tell no more.
    pub id: Option<u32>,
    /// Its name.
    pub name: Option<&'a str>,
}

/// What an engine told of its cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EngineEvent<'a> {
    /// Consecutive blocks came in.
    Stored(Stored<'a>),
    /// One copy of each of these blocks was given up.
    Removed(Removed<'a>),
    /// Everything was given up.
    Cleared,
}

impl EngineEvent<'_> {
    /// Where it happened; what clears everything is told of the nearest.
    pub const fn tier(&self) -> Tier {
        match self {
            Self::Stored(stored) => stored.home.tier,
            Self::Removed(removed) => removed.home.tier,
            Self::Cleared => Tier::Device,
        }
    }
}

/// Consecutive blocks that came in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stored<'a> {
    /// In prompt order.
    pub blocks: &'a [EngineHash],
    /// The block before the first; none where a prompt begins.
    pub parent: Option<EngineHash>,
    /// The tokens of all blocks; none at all where blocks are only copied to another tier.
    pub tokens: &'a [TokenId],
    /// Tokens in each block.
    pub block_tokens: Tokens,
    /// Where they came in.
    pub home: Home,
    /// The kind of attention of that group, if the engine tells.
    pub attention: Option<AttentionKind>,
    /// The adapter.
    pub lora: Lora<'a>,
    /// The tenant's salt, where it is a field of its own (SGLang); vLLM has it among the extra keys.
    pub cache_salt: Option<&'a str>,
    /// What else the engine hashes into each block.
    pub extra_keys: ExtraKeys<'a>,
}

/// Blocks of which one copy was given up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Removed<'a> {
    /// Which.
    pub blocks: &'a [EngineHash],
    /// From where.
    pub home: Home,
}

/// What an engine hashes into blocks beside tokens, a list or nothing for each block, still in its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraKeys<'a>(pub(super) &'a [u8]);

impl<'a> ExtraKeys<'a> {
    /// What [`write_salt`](ExtraKeys::write_salt) wrote, or nothing.
    pub const fn written(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Nothing for any block, as nearly always.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys of each block in turn.
    pub fn blocks(&self) -> impl Iterator<Item = BlockKeys<'a>> + use<'a> {
        let mut reader = Reader::new(self.0);
        let blocks = if self.is_empty() { 0 } else { reader.array().unwrap_or(0) };
        (0..blocks).map_while(move |_| {
            let start = reader;
            reader.skip().ok()?;
            Some(BlockKeys(reader.since(&start)))
        })
    }
}

/// What an engine hashes into one block beside its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockKeys<'a>(&'a [u8]);

impl<'a> BlockKeys<'a> {
    /// One by one: the key in its bytes, and as a text where it is one.
    pub fn keys(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a str>)> + use<'a> {
        let mut reader = Reader::new(self.0);
        let keys = match reader.head() {
            Ok(Head::Array(length)) => length,
            // Neither release sends a bare key, but the next one may: it is taken for a list of one.
            Ok(Head::Nil) | Err(_) => 0,
            Ok(_) => {
                reader = Reader::new(self.0);
                1
            }
        };
        (0..keys).map_while(move |_| {
            let (start, mut text) = (reader, reader);
            reader.skip().ok()?;
            Some((reader.since(&start), text.optional_text().ok().flatten()))
        })
    }
}
