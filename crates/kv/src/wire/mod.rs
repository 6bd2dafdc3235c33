//! KV events on the wire: what vLLM and SGLang publish over ZMQ, in every dialect they have spoken so far.
//!
//! [`Batch::read`] takes a message apart, [`encode`] makes one. [`Translator`] turns an engine's events, which name blocks by the
//! engine's own hashes, into [`KvEvent`](crate::KvEvent)s, which name them by ours. docs/kv-events.md has the dialects by release.

mod decode;
mod encode;
mod error;
mod event;
mod reader;
#[cfg(test)]
mod tests;
mod translate;

pub use self::decode::{Batch, Buffers, Events};
pub use self::encode::{Form, encode};
pub use self::error::{Problem, WireError};
pub use self::event::{
    AttentionKind, BlockKeys, EngineEvent, EngineHash, ExtraKeys, Home, Lora, Removed, Stored, Tier,
};
pub use self::translate::{Losses, MOST_BLOCKS, Naming, Translator};
