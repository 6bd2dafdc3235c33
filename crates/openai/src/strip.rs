//! Takes the usage chunk out of a stream whose client did not ask for it, but on whose behalf a gateway did.
//!
//! Whole events that say nothing of usage pass as they came; only the beginning of an event whose end has not come is held.

use std::borrow::Cow;

use crate::scan;
use crate::view::unescape_key;

/// An event that is longer is no usage chunk, and is not held any longer.
const MOST_HELD_BYTES: usize = 64 << 10;

/// What passes, and what is held of it.
///
/// ```
/// use warmroute_openai::UsageStrip;
/// let mut strip = UsageStrip::default();
/// assert_eq!(&*strip.push(b"data: {\"choices\":[{}]}\n\n"), b"data: {\"choices\":[{}]}\n\n");
/// assert_eq!(&*strip.push(b"data: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n"), b"data: [DONE]\n\n");
/// assert!(strip.end().is_empty());
/// ```
#[derive(Debug, Default)]
pub struct UsageStrip {
    /// The beginning of an event.
    held: Vec<u8>,
    /// The end of an event that is too long to be held is still to come.
    passing: bool,
}

impl UsageStrip {
    /// Takes the next piece of the stream and gives what may go on now.
    pub fn push<'p>(&mut self, piece: &'p [u8]) -> Cow<'p, [u8]> {
        let whole_events = self.held.is_empty() && !self.passing && piece.ends_with(b"\n\n");
        if whole_events && memchr::memmem::find(piece, b"\"usage\"").is_none() {
            return Cow::Borrowed(piece);
        }
        self.held.extend_from_slice(piece);
        let (mut goes_on, mut at) = (Vec::with_capacity(self.held.len()), 0);
        while let Some(length) = event_length(&self.held[at..]) {
            let event = &self.held[at..at + length];
            if std::mem::take(&mut self.passing) || !is_usage_chunk(event) {
                goes_on.extend_from_slice(event);
            }
            at += length;
        }
        self.held.drain(..at);
        if self.passing || self.held.len() > MOST_HELD_BYTES {
            self.passing = true;
            goes_on.append(&mut self.held);
        }
        Cow::Owned(goes_on)
    }

    /// What is left when the stream has ended in the middle of an event.
    pub fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Up to and with the empty line that ends the first event.
fn event_length(text: &[u8]) -> Option<usize> {
    let ends = [&b"\n\n"[..], b"\r\n\r\n"];
    ends.iter().filter_map(|end| memchr::memmem::find(text, end).map(|at| at + end.len())).min()
}

/// OpenAI's last chunk: no choices, and a usage.
fn is_usage_chunk(event: &[u8]) -> bool {
    let Some(json) = event.strip_prefix(b"data:") else { return false };
    let (mut no_choices, mut usage) = (false, false);
    for (key, value) in scan::members(json.trim_ascii()).map_while(Result::ok) {
        match unescape_key(key).as_ref() {
            b"choices" => no_choices = value.starts_with(b"[") && value[1..].trim_ascii_start() == b"]",
            b"usage" => usage = value.starts_with(b"{"),
            _ => {}
        }
    }
    no_choices && usage
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": wait\n\ndata: {\"choices\":[{\"text\":\"a \\\"usage\\\" b\"}],\"usage\":null}\n\n\
        data: {\"choices\":[{\"text\":\"b\"}],\"usage\":{\"prompt_tokens\":1}}\r\n\r\n\
        data: {\"id\":\"x\",\"choices\": [ ],\"usage\":{\"prompt_tokens\":9}}\n\ndata: [DONE]\n\n";

    #[test]
    fn only_the_chunk_without_choices_is_taken_out() {
        let mut strip = UsageStrip::default();
        let left = strip.push(STREAM.as_bytes()).into_owned();
        let expected =
            STREAM.replace("data: {\"id\":\"x\",\"choices\": [ ],\"usage\":{\"prompt_tokens\":9}}\n\n", "");
        assert_eq!(String::from_utf8(left).unwrap(), expected);
    }

    #[test]
    fn an_event_without_end_is_not_held_for_ever() {
        let mut strip = UsageStrip::default();
        let long = [b"data: ".as_slice(), &vec![b'x'; MOST_HELD_BYTES]].concat();
        assert_eq!(*strip.push(&long), long);
        assert_eq!(&*strip.push(b"yz"), b"yz");
        assert_eq!(&*strip.push(b"\n\ndata: {\"choices\":[],\"usage\":{}}\n\n"), b"\n\n");
    }

    proptest! {
        #[test]
        fn the_same_is_left_whatever_the_pieces(cuts in prop::collection::vec(0..STREAM.len(), 0..12), end in 0..STREAM.len()) {
            let text = &STREAM.as_bytes()[..end];
            let mut whole = UsageStrip::default();
            let mut expected = whole.push(text).into_owned();
            expected.extend(whole.end());
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(end)).chain([0, end]).collect();
            cuts.sort_unstable();
            let (mut strip, mut left) = (UsageStrip::default(), Vec::new());
            for pair in cuts.windows(2) {
                left.extend_from_slice(&strip.push(&text[pair[0]..pair[1]]));
            }
            left.extend(strip.end());
            prop_assert_eq!(left, expected);
        }
    }
}
