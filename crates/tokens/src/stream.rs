//! An answer as text, token by token.

use warmroute_kv::TokenId;

use crate::text::{TextCodec, TextError};

/// Decodes an answer token by token and never emits half a character.
///
/// Tokens are decoded together with the ones just before them, because some tokenizers spell a token
/// differently at the start of a text. What ends in U+FFFD is held back, since the next token may complete
/// it; but no more than three of them, since a UTF-8 character lacks at most three bytes.
#[derive(Debug, Default)]
pub struct TextStream {
    /// Tokens decoded together: the ones of the last emitted piece, then the ones not yet settled.
    window: Vec<TokenId>,
    /// How many of `window` belong to the last piece.
    settled: usize,
    /// Bytes of `window`'s text that have been emitted.
    emitted: usize,
}

/// Replacement characters at the end of a text that may still become a character.
const UNFINISHED: usize = 3;

impl TextStream {
    /// The text that `token` completes; empty while a character is unfinished and for special tokens.
    pub fn push(&mut self, codec: &TextCodec, token: TokenId) -> Result<String, TextError> {
        self.window.push(token);
        let text = codec.decode(&self.window)?;
        if text.len() == self.emitted {
            // A special token adds nothing now and nothing later.
            self.window.pop();
            return Ok(String::new());
        }
        let broken = text
            .chars()
            .rev()
            .take(UNFINISHED)
            .take_while(|last| *last == char::REPLACEMENT_CHARACTER)
            .count();
        let sure = text.len() - broken * char::REPLACEMENT_CHARACTER.len_utf8();
        let piece = text.get(self.emitted..sure).unwrap_or_default().to_owned();
        self.emitted = self.emitted.max(sure);
        if broken == 0 {
            self.window.drain(..self.settled);
            self.settled = self.window.len();
            self.emitted = codec.decode(&self.window)?.len();
        }
        Ok(piece)
    }

    /// Whatever is left when the answer ends (a broken character becomes U+FFFD).
    pub fn finish(&mut self, codec: &TextCodec) -> Result<String, TextError> {
        let text = codec.decode(&self.window)?;
        let piece = text.get(self.emitted..).unwrap_or_default().to_owned();
        *self = Self::default();
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tiny::codec;

    fn streamed(codec: &TextCodec, tokens: &[TokenId]) -> (Vec<String>, String) {
        let mut stream = TextStream::default();
        let mut pieces: Vec<String> =
            tokens.iter().map(|token| stream.push(codec, *token).expect("decodes")).collect();
        pieces.push(stream.finish(codec).expect("decodes"));
        let whole = pieces.concat();
        (pieces, whole)
    }

    #[test]
    fn a_character_of_several_tokens_is_emitted_whole() {
        let codec = codec();
        let text = "naïve 日本語 🦀🦀 done";
        let tokens = codec.encode_prompt(text).expect("encodes");
        let (pieces, whole) = streamed(&codec, &tokens);
        assert_eq!(whole, text);
        assert!(pieces.len() > text.chars().count() / 2, "it streams");
        assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{pieces:?}");
    }

    #[test]
    fn a_character_cut_off_by_the_end_becomes_a_replacement_character() {
        let codec = codec();
        let tokens = codec.encode_prompt("a🦀").expect("encodes");
        let (_, whole) = streamed(&codec, &tokens[..tokens.len() - 1]);
        assert!(whole.starts_with('a') && whole.ends_with('\u{fffd}'), "{whole:?}");
    }

    #[test]
    fn special_tokens_are_not_shown() {
        let codec = codec();
        let end = codec.token("<|endoftext|>").expect("the tokenizer has it");
        let mut tokens = codec.encode_prompt("In the").expect("encodes");
        tokens.insert(1, end);
        tokens.push(end);
        assert_eq!(streamed(&codec, &tokens).1, "In the");
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 40, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn pieces_join_to_the_text(texts in proptest::collection::vec(".{0,40}", 1..4)) {
            let codec = codec();
            for text in texts {
                let tokens = codec.encode_prompt(&text).expect("encodes");
                let whole = codec.decode(&tokens).expect("decodes");
                prop_assert_eq!(&streamed(&codec, &tokens).1, &whole);
                prop_assert_eq!(whole, text);
            }
        }

        #[test]
        fn any_tokens_stream_as_they_decode(tokens in proptest::collection::vec(1u32..256, 0..40)) {
            let codec = codec();
            prop_assert_eq!(streamed(&codec, &tokens).1, codec.decode(&tokens).expect("decodes"));
        }
    }
}
