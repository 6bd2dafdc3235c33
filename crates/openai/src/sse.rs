//! Server-sent events as OpenAI uses them: an encoder, and a decoder fed with whatever pieces the network delivers.
//!
//! The decoder follows the WHATWG event-stream format (any line ending, comments, several `data` lines, no space needed
//! after the colon) for the fields that engines send, `event` and `data`; `id` and `retry` are skipped. What it holds is
//! bounded, so that a server that never ends an event cannot fill our memory.

use std::collections::VecDeque;

use serde::Serialize;

/// The last event of every complete stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// The data of [`DONE`].
pub const DONE_DATA: &str = "[DONE]";

/// A comment that keeps idle connections open; SDKs skip it, while an event without JSON would break them.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Default bound on one event in bytes; the chunks of real engines are a few hundred, a whole tool call some thousand.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// One event with one of this crate's answer types (or any type that only has string keys) as its JSON data.
pub fn event(json: &impl Serialize) -> Vec<u8> {
    let mut event = b"data: ".to_vec();
    event.extend_from_slice(&crate::to_json(json));
    event.extend_from_slice(b"\n\n");
    event
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The `event:` field; OpenAI's completions have none, Anthropic's messages name every event.
    pub name: Option<String>,
    /// The `data:` lines, joined by newlines.
    pub data: String,
}

impl Event {
    /// Whether this is the end of a complete stream.
    pub fn is_done(&self) -> bool {
        self.data == DONE_DATA
    }
}

/// A stream that cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// One event is larger than the decoder's bound.
    #[error(
        "an event of the stream is larger than {limit_bytes} bytes; hint: is this a stream of server-sent events?"
    )]
    TooLarge {
        /// The bound.
        limit_bytes: usize,
    },
}

/// Puts events together from the pieces of a stream.
///
/// ```
/// use warmroute_openai::sse::Decoder;
/// let mut decoder = Decoder::default();
/// decoder.push(b"data: {\"a\"")?;
/// assert_eq!(decoder.next_event(), None);
/// decoder.push(b": 1}\n\ndata: [DONE]\n\n")?;
/// assert_eq!(decoder.next_event().map(|event| event.data).as_deref(), Some("{\"a\": 1}"));
/// assert!(decoder.next_event().is_some_and(|event| event.is_done()));
/// # Ok::<(), warmroute_openai::sse::SseError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    limit_bytes: usize,
    /// The line so far.
    line: Vec<u8>,
    /// A carriage return ended the last line: a newline right after it belongs to it.
    after_return: bool,
    name: Option<String>,
    /// The data so far, each line with a newline at its end.
    data: String,
    /// Whole events not yet taken; no larger than what one `push` brought.
    ready: VecDeque<Event>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_limit(MAX_EVENT_BYTES)
    }
}

impl Decoder {
    /// A decoder that refuses events of more than `limit_bytes`.
    pub fn with_limit(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            line: Vec::new(),
            after_return: false,
            name: None,
            data: String::new(),
            ready: VecDeque::new(),
        }
    }

    /// Takes the next piece of the stream, of any length. Take the events it completes before the next one.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), SseError> {
        let Some(first) = piece.first() else { return Ok(()) };
        let paired = std::mem::take(&mut self.after_return) && *first == b'\n';
        let mut rest = &piece[usize::from(paired)..];
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.hold(&rest[..end])?;
            self.end_line();
            let after = &rest[end + 1..];
            rest = match (rest[end], after.first()) {
                (b'\r', Some(b'\n')) => &after[1..],
                (b'\r', None) => {
                    self.after_return = true;
                    after
                }
                _ => after,
            };
        }
        self.hold(rest)
    }

    /// The next whole event. What the stream's end cuts off is no event, as the format demands.
    pub fn next_event(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        if self.line.len() + self.data.len() + bytes.len() > self.limit_bytes {
            return Err(SseError::TooLarge { limit_bytes: self.limit_bytes });
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) {
        if self.line.is_empty() {
            return self.end_event();
        }
        let line = String::from_utf8_lossy(&self.line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => self.name = Some(value.to_owned()),
            _ => {}
        }
        self.line.clear();
    }

    fn end_event(&mut self) {
        let name = self.name.take();
        let mut data = std::mem::take(&mut self.data);
        // An event without a data line (a comment, a bare name) is none.
        if data.pop().is_some() {
            self.ready.push_back(Event { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece).unwrap();
            events.extend(std::iter::from_fn(|| decoder.next_event()));
        }
        events
    }

    fn event_of(name: Option<&str>, data: &str) -> Event {
        Event { name: name.map(str::to_owned), data: data.to_owned() }
    }

    #[test]
    fn names_comments_and_several_data_lines_are_understood() {
        let stream =
            b": hello\n\nevent: delta\nid: 7\ndata: a\ndata:b\n\ndata\n\nevent: bare\n\ndata: cut off\n";
        assert_eq!(decode(&[stream]), [event_of(Some("delta"), "a\nb"), event_of(None, "")]);
    }

    #[test]
    fn what_the_encoder_writes_is_what_the_decoder_reads() {
        let json = serde_json::json!({"text": "two\nlines"});
        assert_eq!(
            decode(&[&event(&json), KEEP_ALIVE, DONE]),
            [event_of(None, &json.to_string()), event_of(None, DONE_DATA)]
        );
    }

    #[test]
    fn an_event_over_the_bound_is_refused_and_events_up_to_it_pass() {
        let mut decoder = Decoder::with_limit(16);
        decoder.push(b"data: 0123456789\n\n").unwrap();
        decoder.push(b"data: 0123456789").unwrap();
        assert_eq!(decoder.push(b"a"), Err(SseError::TooLarge { limit_bytes: 16 }));
    }

    #[test]
    fn an_empty_piece_between_return_and_newline_does_not_part_them() {
        assert_eq!(decode(&[b"data: a\r", b"", b"\ndata: b\r", b"\n\r", b"\n"]), [event_of(None, "a\nb")]);
    }

    proptest! {
        #[test]
        fn where_the_network_cuts_a_stream_changes_nothing(
            lines in prop::collection::vec("(data|event|: |:|x|é|\\PC{0,3}){0,4}(\n|\r|\r\n)", 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let stream = lines.concat().into_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode(&pieces), decode(&[&stream]));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            decode(&[&bytes]);
        }
    }
}
