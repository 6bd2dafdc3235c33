//! Text to token ids and back.

use tokenizers::Tokenizer;
use warmroute_kv::TokenId;

use crate::cuts::{Cuts, Piece};
use crate::memory::Memory;

/// A model's tokenizer, which remembers the tokens of the pieces of text it has seen lately.
#[derive(Debug)]
pub struct TextCodec {
    tokenizer: Tokenizer,
    cuts: Cuts,
    memory: Memory,
    /// What a raw prompt gets before and behind it, such as BOS; `None` if nobody can tell them from the prompt.
    around: Option<Around>,
}

/// What a raw prompt gets around it.
#[derive(Debug)]
struct Around {
    before: Box<[TokenId]>,
    behind: Box<[TokenId]>,
}

/// A text or token the tokenizer cannot handle.
#[derive(Debug, thiserror::Error)]
#[error(
    "the tokenizer failed: {reason}; hint: this is a fault of the model's tokenizer file, try another model"
)]
pub struct TextError {
    reason: String,
}

impl From<tokenizers::Error> for TextError {
    fn from(error: tokenizers::Error) -> Self {
        Self { reason: error.to_string() }
    }
}

impl TextCodec {
    /// Wraps a tokenizer. Whatever truncation or padding its file asks for is turned off: a prompt is served
    /// whole or refused.
    pub(crate) fn new(mut tokenizer: Tokenizer) -> Result<Self, TextError> {
        tokenizer.with_truncation(None)?;
        tokenizer.with_padding(None);
        let cuts = Cuts::of(&tokenizer);
        let mut codec = Self { tokenizer, cuts, memory: Memory::default(), around: None };
        codec.around = codec.surroundings()?;
        Ok(codec)
    }

    /// What a word gets around it.
    fn surroundings(&self) -> Result<Option<Around>, TextError> {
        let (bare, whole) = (self.encode("a", false)?, self.encode("a", true)?);
        let at = whole.windows(bare.len().max(1)).position(|window| window == bare);
        Ok(at.map(|at| Around { before: whole[..at].into(), behind: whole[at + bare.len()..].into() }))
    }

    /// Token ids of a raw prompt, with the special tokens (such as BOS) the model expects around it.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<TokenId>, TextError> {
        let Some(Around { before, behind }) = &self.around else { return self.encode(text, true) };
        let mut tokens = before.to_vec();
        self.encode_after(&mut tokens, text)?;
        tokens.extend_from_slice(behind);
        Ok(tokens)
    }

    /// Token ids of a rendered chat: the template has already written the special tokens.
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<TokenId>, TextError> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        self.encode_after(&mut tokens, text)?;
        Ok(tokens)
    }

    fn encode_after(&self, tokens: &mut Vec<TokenId>, text: &str) -> Result<(), TextError> {
        for piece in self.cuts.pieces(text) {
            match piece {
                Piece::Special(token) => tokens.push(token),
                Piece::Text(text) => {
                    let known = self.memory.tokens(text, || self.encode(text, false))?;
                    tokens.extend_from_slice(&known);
                }
            }
        }
        Ok(())
    }

    /// Bytes of a rendered chat or raw prompt whose tokens are not remembered, up to `enough` of them: what tokenizing it would cost.
    pub fn unknown_bytes(&self, text: &str, enough: usize) -> usize {
        let mut unknown = 0;
        for piece in self.cuts.pieces(text) {
            if let Piece::Text(text) = piece
                && !self.memory.knows(text)
            {
                unknown += text.len();
                if unknown >= enough {
                    break;
                }
            }
        }
        unknown
    }

    /// The same tokens without remembering or looking up anything, to be measured and compared with.
    pub fn encode_whole(&self, text: &str) -> Result<Vec<TokenId>, TextError> {
        self.encode(text, false)
    }

    /// Forgets all pieces of text.
    pub fn forget(&self) {
        self.memory.clear();
    }

    fn encode(&self, text: &str, surround: bool) -> Result<Vec<TokenId>, TextError> {
        Ok(self.tokenizer.encode_fast(text, surround)?.get_ids().to_vec())
    }

    /// The text of `tokens` without special tokens.
    pub fn decode(&self, tokens: &[TokenId]) -> Result<String, TextError> {
        Ok(self.tokenizer.decode(tokens, true)?)
    }

    /// The id of a token by its exact spelling, such as `<|im_end|>`.
    pub fn token(&self, spelling: &str) -> Option<TokenId> {
        self.tokenizer.token_to_id(spelling)
    }

    /// The spelling of a token, such as `<|im_end|>`.
    pub fn spelling(&self, token: TokenId) -> Option<String> {
        self.tokenizer.id_to_token(token)
    }

    /// One more than the highest token id.
    pub fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab(true).values().max().map_or(0, |highest| *highest as usize + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::tiny::codec;

    proptest! {
        #[test]
        fn a_text_has_the_tokens_of_its_pieces(text in "([a-zé' .,!]{0,9}[\\n \\t0-9]{0,3}(<\\|endoftext\\|>)?){0,12}") {
            let codec = codec();
            prop_assert!(codec.cuts.at_lines() && codec.cuts.at_special_tokens());
            for _ in 0..2 {
                let whole = codec.encode(&text, true).expect("encodes");
                prop_assert_eq!(codec.encode_prompt(&text).expect("encodes"), whole, "{:?}", &text);
            }
        }
    }

    #[test]
    fn what_was_tokenized_is_known() {
        let (codec, text) = (codec(), "In the beginning<|endoftext|>and the end");
        assert_eq!(codec.unknown_bytes(text, usize::MAX), text.len() - "<|endoftext|>".len());
        assert_eq!(codec.unknown_bytes(text, 1), "In the beginning".len());
        codec.encode_rendered(text).expect("encodes");
        assert_eq!(codec.unknown_bytes(text, usize::MAX), 0);
        assert_eq!(codec.unknown_bytes("In the beginning<|endoftext|>new", usize::MAX), 3);
        codec.forget();
        assert_eq!(codec.unknown_bytes(text, 1), "In the beginning".len());
    }
}
