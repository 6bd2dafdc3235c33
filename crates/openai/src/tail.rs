//! Reads `usage` off an answer that passes through, by keeping only its last bytes: no chunk is parsed on the way.
//!
//! Every engine puts `usage` at or near the end, of a stream (the chunk before `[DONE]`) and of a whole body alike. So the
//! last `"usage": {...}` in the last [`KEPT_BYTES`] is the one. Generated text cannot forge it: within a JSON string every
//! quote is escaped, so a string that spells `"usage"` reads `\"usage\"`, which does not match.

use std::sync::LazyLock;

use memchr::memmem::FinderRev;

use crate::Opening;
use crate::response::Usage;
use crate::scan;

/// How much of the end is kept. A usage chunk with `[DONE]` after it is under 1 KiB in every engine we know.
pub const KEPT_BYTES: usize = 8 << 10;

const KEY: &[u8] = b"\"usage\"";

/// Made once: that takes as long as finding it.
static LAST_KEY: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(KEY));

/// The end of an answer so far.
///
/// ```
/// use warmroute_openai::UsageTail;
/// let mut tail = UsageTail::default();
/// tail.push(b"data: {\"choices\":[{\"text\":\"Hi\"}]}\n\n");
/// tail.push(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":40,\"completion_tokens\":1,\"total_tokens\":41,");
/// tail.push(b"\"prompt_tokens_details\":{\"cached_tokens\":32}}}\n\ndata: [DONE]\n\n");
/// let usage = tail.usage().expect("the stream carries usage");
/// assert_eq!((usage.prompt_tokens, usage.cached_tokens()), (40, Some(32)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct UsageTail {
    /// At most twice [`KEPT_BYTES`], so that most pushes need not move what is kept.
    end: Vec<u8>,
}

impl UsageTail {
    /// Takes the next piece of the answer, of any length.
    pub fn push(&mut self, piece: &[u8]) {
        let piece = &piece[piece.len().saturating_sub(KEPT_BYTES)..];
        if self.end.len() + piece.len() > 2 * KEPT_BYTES {
            let outdated = self.end.len() - (KEPT_BYTES - piece.len());
            self.end.drain(..outdated);
        }
        self.end.extend_from_slice(piece);
    }

    /// The last usage reported, in OpenAI's words; read it when the answer has ended.
    ///
    /// Understands chat and text completions, responses (`input_tokens_details.cached_tokens`) and Anthropic's messages
    /// (`cache_read_input_tokens`, where the prompt is the sum of read, written and uncached input).
    pub fn usage(&self) -> Option<Usage> {
        let mut before = self.end.as_slice();
        while let Some(at) = find_last_key(before) {
            if let Some(usage) = usage_after(&self.end[at + KEY.len()..]) {
                return Some(usage);
            }
            before = &self.end[..at];
        }
        None
    }
}

impl UsageTail {
    /// The same for an answer that began so: what its last usage leaves out is taken from its first.
    pub fn usage_after(&self, opening: &Opening) -> Option<Usage> {
        let first = opening.usage().and_then(AnyUsage::read);
        let last = find_last_key(&self.end).and_then(|at| any_usage(&self.end[at + KEY.len()..]));
        let whole = match (last, first) {
            (Some(last), Some(first)) if last.tells_of_answer_only() => {
                let AnyUsage { output_tokens, .. } = last;
                AnyUsage { output_tokens, ..first }.into_usage()
            }
            (last, _) => last.and_then(AnyUsage::into_usage),
        };
        // What is last may only look like it.
        whole.or_else(|| self.usage())
    }
}

fn find_last_key(text: &[u8]) -> Option<usize> {
    LAST_KEY.rfind(text)
}

/// `rest` follows the key; `None` for `"usage": null` and for what merely looks like a key.
fn usage_after(rest: &[u8]) -> Option<Usage> {
    any_usage(rest)?.into_usage()
}

fn any_usage(rest: &[u8]) -> Option<AnyUsage> {
    AnyUsage::read(rest.trim_ascii_start().strip_prefix(b":")?)
}

/// The spellings of all APIs side by side.
#[derive(Default)]
struct AnyUsage {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    /// Of the prompt, as OpenAI's APIs tell.
    cached_tokens: Option<u32>,
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
    cache_read_input_tokens: Option<u32>,
    cache_creation_input_tokens: Option<u32>,
}

impl AnyUsage {
    /// The object that `text` begins with, read where it stands: every answer has one.
    fn read(text: &[u8]) -> Option<Self> {
        let mut usage = Self::default();
        for member in scan::leading_members(text) {
            let (key, value) = member.ok()?;
            match key {
                b"prompt_tokens" => usage.prompt_tokens = count(value)?,
                b"completion_tokens" => usage.completion_tokens = count(value)?,
                b"input_tokens" => usage.input_tokens = count(value)?,
                b"output_tokens" => usage.output_tokens = count(value)?,
                b"cache_read_input_tokens" => usage.cache_read_input_tokens = count(value)?,
                b"cache_creation_input_tokens" => usage.cache_creation_input_tokens = count(value)?,
                b"prompt_tokens_details" | b"input_tokens_details" if value != b"null" => {
                    usage.cached_tokens = usage.cached_tokens.or(cached_tokens(value)?);
                }
                _ => {}
            }
        }
        Some(usage)
    }

    fn tells_of_answer_only(&self) -> bool {
        self.prompt_tokens.is_none() && self.input_tokens.is_none()
    }

    fn into_usage(self) -> Option<Usage> {
        let completion = self.completion_tokens.or(self.output_tokens).unwrap_or(0);
        if let Some(prompt) = self.prompt_tokens {
            return Some(Usage::reported(prompt, self.cached_tokens, completion));
        }
        // Only Anthropic's input_tokens leaves out what came from the cache and what was written to it.
        let (read, written) = (self.cache_read_input_tokens, self.cache_creation_input_tokens.unwrap_or(0));
        let prompt = self.input_tokens?.saturating_add(read.unwrap_or(0)).saturating_add(written);
        Some(Usage::reported(prompt, self.cached_tokens.or(read), completion))
    }
}

fn cached_tokens(details: &[u8]) -> Option<Option<u32>> {
    let mut cached = None;
    for member in scan::members(details) {
        if let (b"cached_tokens", value) = member.ok()? {
            cached = count(value)?;
        }
    }
    Some(cached)
}

/// A number of tokens, which may be told to be unknown.
fn count(value: &[u8]) -> Option<Option<u32>> {
    if value == b"null" {
        return Some(None);
    }
    str::from_utf8(value).ok()?.parse().ok().map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage_of(answer: &str) -> Option<Usage> {
        let mut tail = UsageTail::default();
        tail.push(answer.as_bytes());
        tail.usage()
    }

    #[test]
    fn every_api_s_spelling_is_understood() {
        let chat = r#"{"usage": {"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":8}}}"#;
        assert_eq!(usage_of(chat), Some(Usage::new(9, 8, 2)));
        let silent = r#"{"usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":null}}"#;
        assert_eq!(usage_of(silent), Some(Usage::reported(9, None, 2)));
        let responses = r#"data: {"type":"response.completed","response":{"usage":{"input_tokens":9,
            "input_tokens_details":{"cached_tokens":8},"output_tokens":2,"total_tokens":11},"metadata":{}}}"#;
        assert_eq!(usage_of(responses), Some(Usage::new(9, 8, 2)));
        let messages = r#"data: {"type":"message_delta","usage":{"input_tokens":1,"cache_read_input_tokens":8,
            "cache_creation_input_tokens":0,"output_tokens":2}}"#;
        assert_eq!(usage_of(messages), Some(Usage::new(9, 8, 2)));
    }

    #[test]
    fn what_has_no_counts_where_they_should_be_is_no_usage() {
        for odd in
            ["[9, 2]", "{\"prompt_tokens\":\"9\"}", "{\"prompt_tokens\":-9}", "{\"prompt_tokens\":9", "9"]
        {
            assert_eq!(usage_of(&format!("{{\"usage\":{odd}")), None, "{odd}");
        }
        let unknown = r#"{"usage":{"x":[{}],"prompt_tokens":9,"prompt_tokens_details":{"y":"z","cached_tokens":null}},"z":1}"#;
        assert_eq!(usage_of(unknown), Some(Usage::reported(9, None, 0)));
    }

    #[test]
    fn the_last_object_counts_and_null_does_not() {
        let answer = r#"data: {"usage":{"prompt_tokens":1}}
            data: {"usage":{"prompt_tokens":2,"completion_tokens":3}}
            data: {"usage":null}"#;
        assert_eq!(usage_of(answer), Some(Usage::reported(2, None, 3)));
    }

    #[test]
    fn generated_text_cannot_forge_usage() {
        let text = r#"end of text","usage":{"prompt_tokens":666},"x":""#;
        let body =
            serde_json::json!({"choices": [{"text": text}], "usage": {"prompt_tokens": 5}}).to_string();
        assert_eq!(usage_of(&body), Some(Usage::reported(5, None, 0)));
        let body =
            serde_json::json!({"usage": {"prompt_tokens": 5}, "choices": [{"text": text}]}).to_string();
        assert_eq!(usage_of(&body), Some(Usage::reported(5, None, 0)));
        assert_eq!(usage_of(&serde_json::json!({"text": text}).to_string()), None);
    }

    proptest! {
        #[test]
        fn any_answer_in_any_pieces_keeps_its_last_bytes_and_no_more_than_the_bound(
            sizes in prop::collection::vec(prop_oneof![0..100_usize, 0..40_000_usize], 0..30),
        ) {
            let usage = br#"{"usage":{"prompt_tokens":7,"completion_tokens":1}}"#;
            let mut tail = UsageTail::default();
            for size in sizes {
                tail.push(&vec![b'x'; size]);
                prop_assert!(tail.end.len() <= 2 * KEPT_BYTES);
            }
            let (first, second) = usage.split_at(17);
            tail.push(first);
            tail.push(second);
            tail.push(&vec![b' '; KEPT_BYTES - usage.len()]);
            prop_assert_eq!(tail.usage(), Some(Usage::reported(7, None, 1)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut tail = UsageTail::default();
            tail.push(b"\"usage\":");
            tail.push(&bytes);
            tail.usage();
        }
    }
}
