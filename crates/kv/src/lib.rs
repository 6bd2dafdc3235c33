//! What every part of warmroute knows about KV caches: how a block of a prompt is named, what may happen to it, and
//! how a bounded cache of blocks behaves.
//!
//! A serving engine keeps the attention state of prompts in *blocks* of a fixed number of tokens. A block is named by
//! a [`BlockHash`] that chains over everything before it, so equal names mean equal prefixes. What happens to blocks
//! on a worker is told as [`KvEvent`]s. [`BlockPool`] is the cache itself: the CPU worker keeps its tensors in one, the
//! gateway keeps one per worker that tells nothing about its own (a *shadow*). [`timed::Engine`] is a serving engine over such
//! a pool that only keeps time: the simulator and the stand-in worker run it.
//!
//! This crate is pure: no clock, no socket, no entropy.
//!
//! ```
//! use warmroute_kv::{BlockPool, Blocks, Namespace, token_chain};
//!
//! let root = Namespace { model: "smollm2", ..Namespace::default() }.root();
//! let prompt: Vec<u32> = (0..64).collect();
//! let blocks: Vec<_> = token_chain(root, &prompt, 16).collect();
//! assert_eq!(blocks.len(), 4);
//!
//! let mut shadow = BlockPool::new(Blocks(100));
//! let mut events = Vec::new();
//! assert_eq!(shadow.touch(root, &blocks, &mut events), 0, "a cold cache holds nothing");
//! assert_eq!(shadow.touch(root, &blocks, &mut events), 4, "and then all of it");
//! ```

mod event;
mod hash;
mod length;
mod names;
pub mod pool;
pub mod timed;
mod units;
pub mod wire;

pub use event::{KvEvent, KvEvents};
pub use hash::{AlreadyHashed, BlockHash, Namespace, text_chain, token_chain};
pub use length::{BlockLength, Ruler};
pub use names::NameTable;
pub use pool::{BlockPool, Lease, PoolFull, Slot};
pub use units::{Blocks, TokenId, Tokens};
