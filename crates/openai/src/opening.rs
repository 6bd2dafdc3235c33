//! What only the beginning of an answer tells: the name of a response, and what Anthropic's streams say of the prompt before its end.

use std::borrow::Cow;

use crate::scan;
use crate::view::text;

/// How much of the beginning is kept: the first event of a stream is a few hundred bytes, unless it repeats what was asked.
const KEPT_BYTES: usize = 4 << 10;

/// The beginning of an answer so far.
///
/// ```
/// use warmroute_openai::Opening;
/// let mut opening = Opening::default();
/// opening.push(b"event: response.created\ndata: {\"type\":\"response.created\",\"resp");
/// opening.push(b"onse\":{\"id\":\"resp_1\",\"object\":\"response\"}}\n\n");
/// assert_eq!(opening.id().as_deref(), Some("resp_1"));
/// ```
#[derive(Debug, Default)]
pub struct Opening {
    start: Vec<u8>,
}

impl Opening {
    /// Takes the next piece of the answer, of any length.
    pub fn push(&mut self, piece: &[u8]) {
        let room = KEPT_BYTES - self.start.len();
        self.start.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// Whether more of the answer would be kept.
    pub fn is_open(&self) -> bool {
        self.start.len() < KEPT_BYTES
    }

    /// The first `id` of all: that of the answer, which every API writes before those of its parts. Text cannot forge it, since a quote
    /// within a string is escaped.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        text(self.first(b"\"id\"")?)
    }

    /// The first usage.
    pub(crate) fn usage(&self) -> Option<&[u8]> {
        self.first(b"\"usage\"")
    }

    /// The value of the first member of this name.
    fn first(&self, key: &[u8]) -> Option<&[u8]> {
        let at = memchr::memmem::find(&self.start, key)?;
        let rest = self.start[at + key.len()..].trim_ascii_start().strip_prefix(b":")?;
        scan::leading_value(rest).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UsageTail;
    use crate::response::Usage;

    fn opening(answer: &str) -> Opening {
        let mut opening = Opening::default();
        opening.push(answer.as_bytes());
        opening
    }

    #[test]
    fn a_response_is_known_by_its_first_id() {
        let whole = r#"{ "object":"response", "id" : "resp_\u0031", "output":[{"id":"msg_2"}]}"#;
        assert_eq!(opening(whole).id().as_deref(), Some("resp_1"));
        for nameless in ["", "{\"id\":7}", "{\"id\":\"half", "\"id\"", "{\"text\":\"\\\"id\\\":\\\"x\\\"\"}"]
        {
            assert_eq!(opening(nameless).id(), None, "{nameless}");
        }
    }

    #[test]
    fn anthropics_streams_tell_of_the_prompt_first_and_of_the_answer_last() {
        let first = r#"data: {"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":3,
            "cache_read_input_tokens":8,"cache_creation_input_tokens":2,"output_tokens":1}}}"#;
        let last = r#"data: {"type":"message_delta","delta":{},"usage":{"output_tokens":5}}"#;
        let mut tail = UsageTail::default();
        tail.push(last.as_bytes());
        assert_eq!(tail.usage_after(&opening(first)), Some(Usage::new(13, 8, 5)));
        assert_eq!(tail.usage_after(&opening("")), None);
        tail.push(br#" data: {"usage":{"input_tokens":1,"cache_read_input_tokens":8,"output_tokens":2}}"#);
        assert_eq!(tail.usage_after(&opening(first)), Some(Usage::new(9, 8, 2)));
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let mut opening = Opening::default();
        for _ in 0..10 {
            opening.push(&[b'x'; 1000]);
        }
        assert_eq!((opening.start.len(), opening.is_open()), (KEPT_BYTES, false));
    }
}
