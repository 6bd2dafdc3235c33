//! A language model as the engine sees it: tokens and cache slots in, logits out.
//!
//! The invariant everything here serves: **the logits of a token depend on the tokens before it and on
//! nothing else**, bit for bit. Not on what was cached, not on where a prompt was cut into chunks, not on
//! what else is in the batch. It holds because every sum is one chain in a fixed order, and it is what lets a
//! cached answer equal the uncached one.

mod attention;
mod compute;
mod decoder;
pub mod gguf;
mod load;
mod rotary;
mod store;

use warmroute_kv::{Slot, TokenId, Tokens};

pub use decoder::{Model, Scratch};
pub use load::{LoadError, ModelSource, load};
pub use store::{BLOCK_TOKENS, KvStore};
pub use warmroute_tokens::{ChatTemplate, ChatTurn, TemplateError, TextCodec, TextError, TextStream};

/// Everything a worker needs to serve one model. Immutable: several workers share one behind an `Arc`.
#[derive(Debug)]
pub struct LoadedModel {
    /// The name clients ask for, such as `warmroute-tiny` or `HuggingFaceTB/SmolLM2-135M-Instruct`.
    pub name: String,
    /// The network.
    pub model: Model,
    /// Text to token ids and back.
    pub tokenizer: TextCodec,
    /// How a chat becomes a prompt; a model that ships none has [`ChatTemplate::plain`].
    pub template: ChatTemplate,
    /// The longest sequence the model was made for, prompt and answer together.
    pub context: Tokens,
    /// Tokens that end an answer.
    pub eos: Vec<TokenId>,
}

/// What one sequence contributes to a step: a piece of its prompt, or the one token decoded last.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// The sequence's blocks in order, enough of them for `start + tokens.len()` tokens.
    pub slots: &'a [Slot],
    /// Tokens of this sequence already in the store; the new ones follow them.
    pub start: usize,
    /// The new tokens, at least one. Their keys and values are written to the store.
    pub tokens: &'a [TokenId],
    /// Whether the caller wants the logits that follow the last of `tokens`.
    pub logits: bool,
}

#[cfg(test)]
mod tests;
