//! Token ids of lines seen before, so that tokenizing a prompt costs what is new in it and not its length.
//!
//! Tokenizers of GPT-2's kind cut a text into words before they do anything else, and a newline that stands alone between
//! two visible characters is always a word of its own. So a text's tokens are its lines' tokens with the newline's between
//! them, and a line, such as a system prompt, need be tokenized only once. Newlines beside other white space belong to longer
//! words and are not cut at. Tokenizers that work otherwise (prefix spaces, normalizers, tokens that swallow white space) are
//! not asked line by line at all: see [`cuts_at_lines`].

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokenizers::Tokenizer;
use warmroute_kv::TokenId;

/// Text kept, in bytes; its tokens take about as much again. When it is full, all of it goes: what is used comes back at once.
const KEPT_BYTES: usize = 8 << 20;

/// Lines and their tokens.
#[derive(Debug, Default)]
pub(super) struct LineCache {
    /// Held for a look-up or an insertion, never while a line is tokenized.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: HashMap<Box<str>, Arc<[TokenId]>>,
    bytes: usize,
}

impl LineCache {
    /// The tokens of `text`, of which only lines not seen lately are given to `encode`.
    pub(super) fn encode<E>(
        &self,
        text: &str,
        encode: impl Fn(&str) -> Result<Vec<TokenId>, E>,
    ) -> Result<Vec<TokenId>, E> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        for piece in pieces(text) {
            let known = self.kept.lock().lines.get(piece).cloned();
            let line = match known {
                Some(line) => line,
                None => self.keep(piece, encode(piece)?.into()),
            };
            tokens.extend_from_slice(&line);
        }
        Ok(tokens)
    }

    fn keep(&self, line: &str, tokens: Arc<[TokenId]>) -> Arc<[TokenId]> {
        let mut kept = self.kept.lock();
        if kept.bytes + line.len() > KEPT_BYTES {
            *kept = Kept::default();
        }
        if line.len() <= KEPT_BYTES && kept.lines.insert(line.into(), Arc::clone(&tokens)).is_none() {
            kept.bytes += line.len();
        }
        tokens
    }
}

/// `text` cut before and after every newline that stands alone between visible characters.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let visible = |neighbour: Option<char>| neighbour.is_some_and(|neighbour| !neighbour.is_whitespace());
    let alone =
        move |at: &usize| visible(text[..*at].chars().next_back()) && visible(text[at + 1..].chars().next());
    let newlines = text.match_indices('\n').map(|(at, _)| at).filter(alone);
    let cuts = newlines.flat_map(|at| [at, at + 1]).chain([text.len()]);
    cuts.scan(0, |start, end| Some(&text[std::mem::replace(start, end)..end]))
}

/// Whether the tokens of a text are those of its [`pieces`], as far as this tokenizer's parts tell.
pub(super) fn cuts_at_lines(tokenizer: &Tokenizer) -> bool {
    let part = |part: Result<Value, _>| part.unwrap_or(Value::Null);
    let words = part(serde_json::to_value(tokenizer.get_pre_tokenizer()));
    let byte_level = |step: &Value| {
        step["type"] == "ByteLevel" && step["add_prefix_space"] == false && step["use_regex"] == true
    };
    let known_words = match words["pretokenizers"].as_array().map(Vec::as_slice) {
        None => byte_level(&words),
        Some([digits, last]) => digits["type"] == "Digits" && byte_level(last),
        Some(_) => false,
    };
    let swallows = tokenizer
        .get_added_tokens_decoder()
        .values()
        .any(|token| token.lstrip || token.rstrip || token.single_word || token.content.contains('\n'));
    known_words && tokenizer.get_normalizer().is_none() && !swallows
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn only_newlines_between_visible_characters_are_cut_at() {
        let cut = |text| pieces(text).collect::<Vec<_>>();
        assert_eq!(cut("a\nb c\n3"), ["a", "\n", "b c", "\n", "3"]);
        assert_eq!(cut("a\n\nb"), ["a\n\nb"]);
        assert_eq!(cut("\na \nb\n c\n"), ["\na \nb\n c\n"]);
        assert_eq!(cut(""), [""]);
    }

    #[test]
    fn a_line_is_tokenized_once() {
        let (cache, asked) = (LineCache::default(), Cell::new(0));
        let encode = |text: &str| {
            asked.set(asked.get() + 1);
            Ok::<_, ()>(text.bytes().map(TokenId::from).collect())
        };
        for question in ["x", "y", "x"] {
            let text = format!("system\nbe brief\nuser\n{question}");
            let expected: Vec<TokenId> = text.bytes().map(TokenId::from).collect();
            assert_eq!(cache.encode(&text, encode), Ok(expected));
        }
        // system, newline, be brief, user, x and y.
        assert_eq!(asked.get(), 6);
    }

    #[test]
    fn a_full_cache_starts_again() {
        let cache = LineCache::default();
        let encode = |_: &str| Ok::<_, ()>(vec![1]);
        for letter in ["a", "b", "c"] {
            cache.encode(&letter.repeat(KEPT_BYTES / 2), encode).expect("encodes");
        }
        let kept = cache.kept.lock();
        assert_eq!((kept.lines.len(), kept.bytes), (1, KEPT_BYTES / 2));
    }
}
