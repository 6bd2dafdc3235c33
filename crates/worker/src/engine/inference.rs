//! What the engine needs of a model: one step, and text for tokens.
//!
//! A trait because the engine's tests run a toy whose "logits" are a hash of every token it can see through its cache
//! slots: any slot mix-up, early eviction or wrong prefix then changes the answer, which a small trained model might hide.

use std::sync::Arc;

use warmroute_kv::{Blocks, TokenId};

use crate::model::{KvStore, LoadedModel, Scratch, Span, TextError, TextStream};

/// A model together with the store that its cache slots address.
pub trait Inference {
    /// Decoding state of one answer.
    type Text: Default;

    /// Computes new tokens into the store; one row of logits per span that asks, in batch order.
    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Vec<f32>>;

    /// Whether `token` ends an answer.
    fn ends(&self, token: TokenId) -> bool;

    /// The text that `token` completes.
    fn text(&self, stream: &mut Self::Text, token: TokenId) -> String;

    /// The text still open when the answer ends.
    fn last_text(&self, stream: &mut Self::Text) -> String;
}

/// A loaded model with a KV store of this worker's own.
#[derive(Debug)]
pub struct CachedModel {
    loaded: Arc<LoadedModel>,
    store: KvStore,
    scratch: Scratch,
}

impl CachedModel {
    /// Allocates the store.
    pub fn new(loaded: Arc<LoadedModel>, capacity: Blocks) -> Self {
        let store = loaded.model.new_store(capacity);
        Self { loaded, store, scratch: Scratch::default() }
    }
}

impl Inference for CachedModel {
    type Text = TextStream;

    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Vec<f32>> {
        self.loaded.model.forward(batch, &mut self.store, &mut self.scratch)
    }

    fn ends(&self, token: TokenId) -> bool {
        self.loaded.eos.contains(&token)
    }

    fn text(&self, stream: &mut TextStream, token: TokenId) -> String {
        readable(stream.push(&self.loaded.tokenizer, token))
    }

    fn last_text(&self, stream: &mut TextStream) -> String {
        readable(stream.finish(&self.loaded.tokenizer))
    }
}

/// A token the tokenizer cannot decode costs its text, not the whole answer.
fn readable(text: Result<String, TextError>) -> String {
    text.unwrap_or_else(|error| {
        tracing::warn!(%error, "a token could not be decoded");
        char::REPLACEMENT_CHARACTER.to_string()
    })
}
