//! What a router needs to see of a request body, found in one scan and without rebuilding it: the body is forwarded as it came.
//!
//! A view borrows the body. The prompt region is the raw value of `messages` or `prompt`: text mode hashes those bytes as
//! they are, neither parsed nor unescaped. Of a repeated key the last one counts, as it does for the worker. A body this
//! scan passes may still be refused by the worker (see `scan`); one that the worker would read is never refused here.

use std::borrow::Cow;

use crate::ApiError;
use crate::scan::{self, ScanError};

/// How much of the prompt's text [`RequestView::text_start`] gives, in characters.
pub const TEXT_START_CHARS: usize = 256;

/// Longest JSON spelling of one character in bytes: two `\uXXXX` of a surrogate pair.
const LONGEST_ESCAPE: usize = 12;

/// Where an API keeps its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptKeys {
    /// What stands before the prompt if it is there: a system prompt that is no message.
    pub lead: Option<&'static str>,
    /// The prompt.
    pub prompt: &'static str,
    /// Whether there is no request without it.
    pub required: bool,
}

impl PromptKeys {
    /// `/v1/chat/completions`
    pub const CHAT: Self = Self { lead: None, prompt: "messages", required: true };
    /// `/v1/completions`
    pub const COMPLETION: Self = Self { lead: None, prompt: "prompt", required: true };
    /// `/v1/responses`, which may go on from an earlier response instead
    pub const RESPONSES: Self = Self { lead: Some("instructions"), prompt: "input", required: false };
    /// `/v1/messages`
    pub const MESSAGES: Self = Self { lead: Some("system"), prompt: "messages", required: true };
}

/// What the gateway looks at in a request body.
///
/// ```
/// use warmroute_openai::RequestView;
/// let body = br#"{"model": "tiny", "stream": true, "messages": [{"role": "user", "content": "Caf\u00e9?"}]}"#;
/// let view = RequestView::of_chat(body)?;
/// assert_eq!(view.model.as_deref(), Some("tiny"));
/// assert!(view.stream);
/// assert!(view.prompt.starts_with(b"[{\"role\""));
/// assert_eq!(view.text_start(), "Café?");
/// # Ok::<(), warmroute_openai::ApiError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestView<'a> {
    /// The model asked for.
    pub model: Option<Cow<'a, str>>,
    /// The same as it stands in the body.
    pub model_value: Option<&'a [u8]>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Whether the stream is to end in a usage chunk.
    pub include_usage: bool,
    /// `stream_options` as it stands in the body, null included.
    pub stream_options: Option<&'a [u8]>,
    /// The response that this one goes on from.
    pub previous_response_id: Option<Cow<'a, str>>,
    /// `max_completion_tokens`, else `max_tokens`, else `max_output_tokens`, where it is a whole number; the worker judges anything else.
    pub max_tokens: Option<u32>,
    /// `cache_salt`: requests with different salts share no cache.
    pub cache_salt: Option<Cow<'a, str>>,
    /// `session_id`, which some gateways' clients send. Like the next two it is only a hint: what is no string counts as missing.
    pub session_id: Option<Cow<'a, str>>,
    /// `prompt_cache_key`: OpenAI's name for requests that share a beginning.
    pub prompt_cache_key: Option<Cow<'a, str>>,
    /// `user`: whoever asks.
    pub user: Option<Cow<'a, str>>,
    /// Raw value of `tools`, which most chat templates put before the messages; `None` if missing or null.
    pub tools: Option<&'a [u8]>,
    /// Raw value of what comes before the prompt; `None` if the API has no such thing, or it is missing or null.
    pub lead: Option<&'a [u8]>,
    /// Raw value of `messages` or `prompt`; empty where it is missing and may be.
    pub prompt: &'a [u8],
}

impl<'a> RequestView<'a> {
    /// Views the body of `/v1/chat/completions`.
    pub fn of_chat(body: &'a [u8]) -> Result<Self, ApiError> {
        Self::of(body, PromptKeys::CHAT)
    }

    /// Views the body of `/v1/completions`.
    pub fn of_completion(body: &'a [u8]) -> Result<Self, ApiError> {
        Self::of(body, PromptKeys::COMPLETION)
    }

    /// Views the body of the API that keeps its prompt there.
    pub fn of(body: &'a [u8], keys: PromptKeys) -> Result<Self, ApiError> {
        let raw = RawFields::find(body, keys).map_err(|error| invalid_json(body, error))?;
        if raw.prompt.is_none() && keys.required {
            let hint = format_args!("send the prompt as '{}'", keys.prompt);
            return Err(ApiError::invalid_param(keys.prompt, "is missing", hint));
        }
        let include_usage = raw.stream_options.is_some_and(asks_for_usage);
        Ok(Self {
            model: raw.model.map(|value| string("model", value)).transpose()?,
            stream: raw.stream == Some(b"true"),
            model_value: raw.model,
            include_usage,
            stream_options: raw.stream_options,
            previous_response_id: raw.previous_response_id.and_then(text),
            max_tokens: [raw.max_completion_tokens, raw.max_tokens, raw.max_output_tokens]
                .into_iter()
                .find_map(|value| value.and_then(whole_number)),
            cache_salt: raw.cache_salt.map(|value| string("cache_salt", value)).transpose()?,
            session_id: raw.session_id.and_then(text),
            prompt_cache_key: raw.prompt_cache_key.and_then(text),
            user: raw.user.and_then(text),
            tools: raw.tools,
            lead: raw.lead,
            prompt: raw.prompt.unwrap_or_default(),
        })
    }

    /// The first [`TEXT_START_CHARS`] characters of the prompt's first text that is not empty, unescaped.
    ///
    /// A prompt of token ids has no text; the start of its JSON stands in, which is as good a key. Costs time in
    /// proportion to the first messages, so ask only if the policy looks at text.
    pub fn text_start(&self) -> Cow<'a, str> {
        let text = self.lead.and_then(first_text).or_else(|| first_text(self.prompt));
        unescape_start(text.unwrap_or(self.prompt))
    }
}

/// The values a view is made of, as they stand in the body; null counts as missing.
#[derive(Default)]
struct RawFields<'a> {
    model: Option<&'a [u8]>,
    stream: Option<&'a [u8]>,
    stream_options: Option<&'a [u8]>,
    max_tokens: Option<&'a [u8]>,
    max_completion_tokens: Option<&'a [u8]>,
    max_output_tokens: Option<&'a [u8]>,
    previous_response_id: Option<&'a [u8]>,
    cache_salt: Option<&'a [u8]>,
    session_id: Option<&'a [u8]>,
    prompt_cache_key: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    tools: Option<&'a [u8]>,
    lead: Option<&'a [u8]>,
    prompt: Option<&'a [u8]>,
}

impl<'a> RawFields<'a> {
    fn find(body: &'a [u8], keys: PromptKeys) -> Result<Self, ScanError> {
        let mut found = Self::default();
        let (lead, prompt) = (keys.lead.map(str::as_bytes), keys.prompt.as_bytes());
        for member in scan::members(body) {
            let (key, value) = member?;
            let key = unescape_key(key);
            let field = match key.as_ref() {
                b"model" => &mut found.model,
                b"stream" => &mut found.stream,
                b"stream_options" => {
                    found.stream_options = Some(value);
                    continue;
                }
                b"max_tokens" => &mut found.max_tokens,
                b"max_completion_tokens" => &mut found.max_completion_tokens,
                b"max_output_tokens" => &mut found.max_output_tokens,
                b"previous_response_id" => &mut found.previous_response_id,
                b"cache_salt" => &mut found.cache_salt,
                b"session_id" => &mut found.session_id,
                b"prompt_cache_key" => &mut found.prompt_cache_key,
                b"user" => &mut found.user,
                b"tools" => &mut found.tools,
                key if key == prompt => &mut found.prompt,
                key if Some(key) == lead => &mut found.lead,
                _ => continue,
            };
            *field = (value != b"null").then_some(value);
        }
        Ok(found)
    }
}

/// Keys are hardly ever escaped; one that is must still be found, or the worker would see what we did not.
pub(crate) fn unescape_key(escaped: &[u8]) -> Cow<'_, [u8]> {
    if !escaped.contains(&b'\\') {
        return Cow::Borrowed(escaped);
    }
    match unescape(escaped) {
        Some(key) => Cow::Owned(key.into_bytes()),
        None => Cow::Borrowed(escaped),
    }
}

fn unescape(escaped: &[u8]) -> Option<String> {
    let quoted = [b"\"", escaped, b"\""].concat();
    serde_json::from_slice(&quoted).ok()
}

fn string<'a>(name: &str, value: &'a [u8]) -> Result<Cow<'a, str>, ApiError> {
    text(value).ok_or_else(|| ApiError::invalid_param(name, "must be a string", "correct it or leave it out"))
}

/// The text of a string; nothing if the value is none.
pub(crate) fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    let escaped = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if escaped.contains(&b'\\') {
        return unescape(escaped).map(Cow::Owned);
    }
    std::str::from_utf8(escaped).map(Cow::Borrowed).ok()
}

fn whole_number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn asks_for_usage(stream_options: &[u8]) -> bool {
    let asked =
        |(key, value): (&[u8], &[u8])| (*unescape_key(key) == *b"include_usage").then_some(value == b"true");
    scan::members(stream_options).map_while(Result::ok).filter_map(asked).last().unwrap_or(false)
}

/// The first string that is not empty, between its quotes: the prompt itself, one of its strings, or the content of a message.
fn first_text(prompt: &[u8]) -> Option<&[u8]> {
    text_of(prompt).or_else(|| scan::elements(prompt).map_while(Result::ok).find_map(text_of_element))
}

fn text_of(value: &[u8]) -> Option<&[u8]> {
    let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!text.is_empty()).then_some(text)
}

fn text_of_element(element: &[u8]) -> Option<&[u8]> {
    text_of(element).or_else(|| {
        let content = member(element, b"content")?;
        text_of(content).or_else(|| scan::elements(content).map_while(Result::ok).find_map(text_of_part))
    })
}

fn text_of_part(part: &[u8]) -> Option<&[u8]> {
    text_of(member(part, b"text")?)
}

/// The last member of this name, so that it is the one the worker reads.
fn member<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let named = |(key, value)| (*unescape_key(key) == *name).then_some(value);
    scan::members(object).map_while(Result::ok).filter_map(named).last()
}

/// The first characters of an escaped text; what is not UTF-8 or no escape becomes U+FFFD, since this only feeds a hash.
fn unescape_start(escaped: &[u8]) -> Cow<'_, str> {
    let enough = &escaped[..escaped.len().min(TEXT_START_CHARS * LONGEST_ESCAPE)];
    let text = match String::from_utf8_lossy(enough) {
        Cow::Borrowed(text) => {
            let end = text.char_indices().nth(TEXT_START_CHARS).map_or(text.len(), |(at, _)| at);
            if !text[..end].contains('\\') {
                return Cow::Borrowed(&text[..end]);
            }
            Cow::Borrowed(text)
        }
        owned => owned,
    };
    let mut rest = text.chars();
    Cow::Owned(std::iter::from_fn(|| unescaped_char(&mut rest)).take(TEXT_START_CHARS).collect())
}

fn unescaped_char(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let first = rest.next()?;
    if first != '\\' {
        return Some(first);
    }
    Some(match rest.next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => unicode_escape(rest),
        literal => literal,
    })
}

/// The character after `\u`, with the second half of a surrogate pair if there is one.
fn unicode_escape(rest: &mut std::str::Chars<'_>) -> char {
    let Some(high) = four_digits(rest) else { return char::REPLACEMENT_CHARACTER };
    if !(0xD800..0xDC00).contains(&high) {
        return char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER);
    }
    let mut ahead = rest.clone();
    let low =
        (ahead.next() == Some('\\') && ahead.next() == Some('u')).then(|| four_digits(&mut ahead)).flatten();
    let Some(low @ 0xDC00..0xE000) = low else { return char::REPLACEMENT_CHARACTER };
    *rest = ahead;
    char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn four_digits(rest: &mut std::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |number, _| Some(number * 16 + rest.next()?.to_digit(16)?))
}

fn invalid_json(body: &[u8], error: ScanError) -> ApiError {
    let before = &body[..error.at.min(body.len())];
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|&&byte| byte != b'\n').count();
    ApiError::invalid_json(format_args!("{} at line {line} column {column}", error.what))
}
