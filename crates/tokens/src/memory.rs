//! Token ids of pieces of text seen before, so that tokenizing a prompt costs what is new in it and not its length.
//!
//! Bounded by bytes; what was used least is forgotten first, nearly in that order. Shared by all threads: the cache is cut into shards,
//! and none is held while a piece is tokenized. Texts are compared and not only their hashes, since wrong tokens would be a wrong answer.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use warmroute_kv::TokenId;

/// Bytes of text and tokens kept for one tokenizer: some eight million tokens of prose, or a thousand conversations of 8,000.
const KEPT_BYTES: u64 = 64 << 20;
/// What an entry takes beside its text and its tokens.
const ENTRY_BYTES: u64 = 96;
/// Room is set aside for entries of about this size, which is a message.
const USUAL_BYTES: u64 = 1 << 10;

/// Pieces of text and their tokens.
pub(crate) struct Memory {
    kept: Cache<Box<str>, Arc<[TokenId]>, Bytes>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<str>, Arc<[TokenId]>> for Bytes {
    fn weight(&self, text: &Box<str>, tokens: &Arc<[TokenId]>) -> u64 {
        (text.len() + size_of_val(&**tokens)) as u64 + ENTRY_BYTES
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::of(KEPT_BYTES)
    }
}

impl Memory {
    fn of(bytes: u64) -> Self {
        let entries = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        Self { kept: Cache::with_weighter(entries, bytes, Bytes) }
    }

    /// The tokens of `text`: as remembered, else as `encode` gives them.
    pub(crate) fn tokens<E>(
        &self,
        text: &str,
        encode: impl FnOnce() -> Result<Vec<TokenId>, E>,
    ) -> Result<Arc<[TokenId]>, E> {
        if let Some(tokens) = self.kept.get(text) {
            return Ok(tokens);
        }
        let tokens: Arc<[TokenId]> = encode()?.into();
        self.kept.insert(text.into(), Arc::clone(&tokens));
        Ok(tokens)
    }

    /// Whether the tokens of `text` are remembered.
    pub(crate) fn knows(&self, text: &str) -> bool {
        self.kept.peek(text).is_some()
    }

    /// Forgets all of it.
    pub(crate) fn clear(&self) {
        self.kept.clear();
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("pieces", &self.kept.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_piece_is_tokenized_once() {
        let (memory, asked) = (Memory::default(), Cell::new(0));
        for text in ["be brief", "x", "be brief", "y", "x"] {
            let encode = || {
                asked.set(asked.get() + 1);
                Ok::<_, ()>(text.bytes().map(TokenId::from).collect())
            };
            let expected: Vec<TokenId> = text.bytes().map(TokenId::from).collect();
            assert_eq!(memory.tokens(text, encode).as_deref(), Ok(&expected[..]));
        }
        assert_eq!(asked.get(), 3);
    }

    #[test]
    fn it_stays_within_its_bytes_whatever_comes() {
        let memory = Memory::of(1 << 20);
        for number in 0..20_000 {
            let text = format!("{number} {}", "x".repeat(number % 700));
            memory.tokens(&text, || Ok::<_, ()>(vec![1; number % 300])).expect("no error");
            assert!(memory.kept.weight() <= 1 << 20, "after {number}");
        }
        memory.tokens(&"long".repeat(1 << 20), || Ok::<_, ()>(Vec::new())).expect("no error");
        assert!(memory.kept.weight() <= 1 << 20 && memory.kept.len() > 100);
    }
}
