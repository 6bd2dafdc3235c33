//! From a request to the tokens that its model reads: the chat template renders it, the tokenizer cuts it up.
//!
//! A worker needs this to read prompts, and a gateway to know which blocks of cache they will touch, so both use this crate; it is apart from
//! them because of the libraries it brings, which the pure crates must not have. What holds: the tokens of a prompt are those of the
//! whole rendered text, whatever was remembered of it ([`PromptTokenizer`]).

mod chat;
mod cuts;
pub mod gguf;
mod memory;
mod messages;
mod prompt;
mod responses;
pub mod source;
mod stream;
mod template;
mod text;
#[cfg(test)]
mod tiny;

pub use chat::{ChatRequest, Untokenized};
pub use prompt::{Prompt, PromptTokenizer};
pub use source::{LoadError, Source, load};
pub use stream::TextStream;
pub use template::{ChatTemplate, ChatTurn, Conversation, TemplateError};
pub use text::{TextCodec, TextError};
