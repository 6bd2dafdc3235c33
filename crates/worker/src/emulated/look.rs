//! What a body asks, found by one scan: the prompt's bytes become tokens of four and blocks of sixteen without being unescaped. Tools are
//! prompt, before the messages, as a chat template would put them.
//!
//! That is no tokenizer, but it is one that costs nanoseconds and agrees with itself: equal beginnings are equal tokens, and
//! `/tokenize` says what usage will say. The last bytes of a prompt are a token even where they are fewer than four.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use warmroute_kv::timed::Work;
use warmroute_kv::{BlockHash, Namespace, TokenId, Tokens, text_chain};
use warmroute_openai::request::DEFAULT_COMPLETION_TOKENS;
use warmroute_openai::{ApiError, RequestView};

use super::surface::Surface;

/// Bytes of a prompt that make one token.
pub(super) const TOKEN_BYTES: usize = 4;
/// Tokens in a block, as in the real worker and by default in vLLM.
pub(super) const BLOCK: Tokens = Tokens(16);

/// One request's part of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prompt {
    root: BlockHash,
    /// The tenant's salt in the root.
    salt: Option<Box<str>>,
    bytes: Box<[u8]>,
    blocks: Vec<BlockHash>,
    pub(super) tokens: Tokens,
    /// The name of all of it, the last partial block included.
    pub(super) name: BlockHash,
    pub(super) answer: Tokens,
}

impl Prompt {
    /// A prompt of these bytes.
    pub(super) fn of(root: BlockHash, bytes: &[u8]) -> Self {
        let block = TOKEN_BYTES * BLOCK.get();
        let blocks: Vec<_> = text_chain(root, bytes, block).collect();
        let rest = &bytes[blocks.len() * block..];
        let name = blocks.last().copied().unwrap_or(root).next_text(rest);
        Self {
            root,
            salt: None,
            tokens: Tokens::of(bytes.len().div_ceil(TOKEN_BYTES).max(1)),
            bytes: bytes.into(),
            blocks,
            name,
            answer: Tokens(1),
        }
    }

    /// The tenant's salt.
    pub(super) fn salt(&self) -> Option<&str> {
        self.salt.as_deref()
    }

    /// The tokens of its whole block at `place`.
    pub(super) fn block(&self, place: usize) -> Vec<TokenId> {
        let bytes = TOKEN_BYTES * BLOCK.get();
        token_ids(&self.bytes[place * bytes..][..bytes])
    }

    /// A prompt that is nobody else's, as of sound.
    pub(super) fn of_nothing(tokens: Tokens) -> Self {
        Self { tokens, ..Self::of(BlockHash(0), &[]) }
    }
}

impl Work for Prompt {
    fn root(&self) -> BlockHash {
        self.root
    }

    fn blocks(&self) -> &[BlockHash] {
        &self.blocks
    }

    fn prompt(&self) -> Tokens {
        self.tokens
    }

    fn answer(&self) -> Tokens {
        self.answer
    }
}

/// What is asked of the answer.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) prompt: Prompt,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// Tokens of the answer, where the client says.
    pub(super) max_tokens: Option<u32>,
    /// What a response goes on from.
    pub(super) previous: Option<Cow<'a, str>>,
}

/// Looks at the body of a request for text.
pub(super) fn look<'a>(surface: Surface, body: &'a [u8], served: &str) -> Result<Asked<'a>, ApiError> {
    let view = match surface {
        Surface::Chat => RequestView::of_chat(body)?,
        Surface::Completion => RequestView::of_completion(body)?,
        Surface::Responses | Surface::Messages => return Other::read(body)?.asked(surface, served),
    };
    let salt = view.cache_salt.as_deref();
    let root = Namespace { model: served, salt, ..Namespace::default() }.root();
    let mut bytes = prompt_bytes(view.prompt);
    if let Some(tools) = view.tools {
        bytes = Cow::Owned([tools, &bytes].concat());
    }
    let default = (surface == Surface::Completion).then_some(DEFAULT_COMPLETION_TOKENS);
    Ok(Asked {
        prompt: Prompt { salt: salt.map(Box::from), ..Prompt::of(root, &bytes) },
        model: view.model,
        stream: view.stream,
        include_usage: view.include_usage,
        max_tokens: view.max_tokens.or(default),
        previous: None,
    })
}

/// The bytes of a value that are prompt: a string without its quotes, token ids as four bytes each, all else as it stands.
pub(super) fn prompt_bytes(raw: &[u8]) -> Cow<'_, [u8]> {
    if let Some(text) = raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) {
        return Cow::Borrowed(text);
    }
    let first = raw.iter().skip(1).find(|byte| !byte.is_ascii_whitespace());
    let ids = first
        .filter(|byte| byte.is_ascii_digit())
        .and_then(|_| serde_json::from_slice::<Vec<TokenId>>(raw).ok());
    match ids {
        Some(ids) => Cow::Owned(ids.into_iter().flat_map(TokenId::to_le_bytes).collect()),
        None => Cow::Borrowed(raw),
    }
}

/// The tokens of a prompt, as `/tokenize` tells them.
pub(super) fn token_ids(bytes: &[u8]) -> Vec<TokenId> {
    let id = |bytes: &[u8]| {
        let mut id = [0; TOKEN_BYTES];
        id[..bytes.len()].copy_from_slice(bytes);
        TokenId::from_le_bytes(id)
    };
    bytes.chunks(TOKEN_BYTES).map(id).collect()
}

/// The bytes that these are the tokens of; a last token may have been of fewer than four.
pub(super) fn text_of(tokens: &[TokenId]) -> Vec<u8> {
    let mut bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

/// A body of the APIs that are asked less often; read by serde, since nobody loads a gateway with them.
#[derive(Debug, Deserialize)]
pub(super) struct Other<'a> {
    #[serde(borrow)]
    pub(super) model: Option<Cow<'a, str>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(alias = "max_output_tokens")]
    max_tokens: Option<u32>,
    previous_response_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, alias = "instructions")]
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow)]
    query: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) documents: Option<&'a RawValue>,
    pub(super) top_n: Option<usize>,
}

impl<'a> Other<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(body).map_err(ApiError::invalid_json)
    }

    /// All that is prompt, in the order in which an engine would put it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let parts =
            [self.tools, self.system, self.messages, self.prompt, self.input, self.query, self.documents];
        parts.into_iter().flatten().flat_map(|raw| prompt_bytes(raw.get().as_bytes()).into_owned()).collect()
    }

    pub(super) fn prompt(&self, served: &str) -> Prompt {
        Prompt::of(Namespace { model: served, ..Namespace::default() }.root(), &self.bytes())
    }

    fn asked(self, surface: Surface, served: &str) -> Result<Asked<'a>, ApiError> {
        let (name, there) = match surface {
            Surface::Responses => ("input", self.input.is_some()),
            _ => ("messages", self.messages.is_some()),
        };
        if !there {
            return Err(ApiError::invalid_param(
                name,
                "is missing",
                format_args!("send the prompt as '{name}'"),
            ));
        }
        Ok(Asked {
            prompt: self.prompt(served),
            model: self.model,
            stream: self.stream == Some(true),
            include_usage: true,
            max_tokens: self.max_tokens,
            previous: self.previous_response_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(content: &str) -> Prompt {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{content}"}}]}}"#);
        look(Surface::Chat, body.as_bytes(), "m").unwrap().prompt
    }

    #[test]
    fn equal_beginnings_are_equal_blocks() {
        let (one, other) = (chat(&"abcd".repeat(50)), chat(&format!("{}x", "abcd".repeat(40))));
        let shared = one.blocks.iter().zip(&other.blocks).take_while(|(one, other)| one == other).count();
        assert_eq!((one.tokens, shared), (Tokens(58), 2), "230 bytes, of which 188 are the same");
        assert_ne!(one.name, other.name);
    }

    #[test]
    fn token_ids_are_the_tokens_that_tokenize_tells() {
        let text = "a text of some length, which is longer than one block of sixteen tokens";
        let ids = token_ids(text.as_bytes());
        let by_text = Prompt::of(BlockHash(0), &prompt_bytes(format!("\"{text}\"").as_bytes()));
        let by_ids = Prompt::of(BlockHash(0), &prompt_bytes(serde_json::to_string(&ids).unwrap().as_bytes()));
        assert_eq!((ids.len(), by_text.tokens), (18, Tokens(18)));
        assert_eq!(text_of(&ids), text.as_bytes());
        assert_eq!(by_ids.blocks, by_text.blocks);
    }

    #[test]
    fn salts_and_tools_share_nothing() {
        let blocks = |more: &str| {
            let body = format!(r#"{{"model":"m","messages":["{}"]{more}}}"#, "abcd".repeat(50));
            look(Surface::Chat, body.as_bytes(), "m").unwrap().prompt.blocks
        };
        let different = [blocks(""), blocks(r#","cache_salt":"a""#), blocks(r#","tools":[1]"#)];
        assert!(different[0][0] != different[1][0] && different[0][0] != different[2][0]);
    }

    #[test]
    fn a_system_prompt_comes_before_the_messages() {
        let body = br#"{"messages":[{}],"system":"You are.","max_tokens":7}"#;
        let asked = look(Surface::Messages, body, "m").unwrap();
        let expected = Prompt::of(Namespace { model: "m", ..Namespace::default() }.root(), b"You are.[{}]");
        assert_eq!((asked.prompt, asked.max_tokens), (expected, Some(7)));
        assert!(look(Surface::Responses, body, "m").unwrap_err().message.contains("'input' is missing"));
    }
}
