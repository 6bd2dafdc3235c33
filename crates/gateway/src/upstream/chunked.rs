//! Takes the chunks of a body (RFC 9112 §7.1) apart, in place: of one read, the pieces are moved together and leave as one.
//!
//! Where chunks begin means nothing to the receiver, and a stream of tokens has many small ones in one read.

use bytes::{Buf, Bytes, BytesMut};

use super::UpstreamError;

/// Bytes of a chunk's first line, extensions included, and of one trailer.
const MOST_LINE_BYTES: usize = 4 * 1024;
/// Trailers of one body; they are dropped.
const MOST_TRAILERS: u32 = 64;

/// How far a body has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Chunked {
    /// A chunk's first line comes next.
    #[default]
    Size,
    /// So much of a chunk is to come.
    Data(u64),
    /// The line break behind a chunk comes next.
    Behind,
    /// So many trailers have come.
    Trailers(u32),
    /// All has been read.
    Done,
}

impl Chunked {
    /// Takes what `buffer` has of the body, which may be nothing, and leaves what is not yet whole or not part of it.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Bytes, UpstreamError> {
        // Of the buffer, `kept` bytes of content have been moved to the front, and `read` bytes have been looked at.
        let (mut kept, mut read) = (0, 0);
        while let Some(used) = self.step(&buffer[read..])? {
            match used {
                // The content of the first chunk need not be moved if what stands before it is dropped.
                Used::Frame(bytes) if kept == 0 => buffer.advance(bytes),
                Used::Frame(bytes) => read += bytes,
                Used::Content(bytes) => {
                    buffer.copy_within(read..read + bytes, kept);
                    kept += bytes;
                    read += bytes;
                }
            }
        }
        let content = buffer.split_to(kept).freeze();
        buffer.advance(read - kept);
        Ok(content)
    }

    /// The next part of the body's text, if all of it is there or it is content.
    fn step(&mut self, text: &[u8]) -> Result<Option<Used>, UpstreamError> {
        Ok(match *self {
            Self::Size => line(text)?.map(|line| self.begin(line)).transpose()?,
            Self::Data(left) => {
                let there = usize::try_from(left).unwrap_or(usize::MAX).min(text.len());
                let left = left - there as u64;
                *self = if left == 0 { Self::Behind } else { Self::Data(left) };
                (there > 0).then_some(Used::Content(there))
            }
            Self::Behind if text.len() < 2 => None,
            Self::Behind if text.starts_with(b"\r\n") => {
                *self = Self::Size;
                Some(Used::Frame(2))
            }
            Self::Behind => return Err(UpstreamError::Malformed("a chunk is longer than it says")),
            Self::Trailers(MOST_TRAILERS) => return Err(UpstreamError::Malformed("too many trailers")),
            Self::Trailers(count) => line(text)?.map(|line| {
                *self = if line.is_empty() { Self::Done } else { Self::Trailers(count + 1) };
                Used::Frame(line.len() + 2)
            }),
            Self::Done => None,
        })
    }

    fn begin(&mut self, line: &[u8]) -> Result<Used, UpstreamError> {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = line[digits..].trim_ascii_start();
        let number = std::str::from_utf8(&line[..digits]).ok();
        let size = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let Some(size) = size.filter(|_| extension.is_empty() || extension.starts_with(b";")) else {
            return Err(UpstreamError::Malformed("a chunk's size is no number"));
        };
        *self = if size == 0 { Self::Trailers(0) } else { Self::Data(size) };
        Ok(Used::Frame(line.len() + 2))
    }
}

/// What a step has passed.
#[derive(Clone, Copy)]
enum Used {
    Content(usize),
    Frame(usize),
}

/// The first line of `text` without its line break, if all of it is there.
fn line(text: &[u8]) -> Result<Option<&[u8]>, UpstreamError> {
    let within = &text[..text.len().min(MOST_LINE_BYTES)];
    match within.iter().position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && text[end - 1] == b'\r' => Ok(Some(&text[..end - 1])),
        Some(_) => Err(UpstreamError::Malformed("a line does not end in CR LF")),
        None if within.len() == MOST_LINE_BYTES => {
            Err(UpstreamError::Malformed("a chunk's first line is too long"))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes out of `text` when it comes in pieces that end at `cuts`, and what is left behind the body.
    fn taken(text: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Vec<u8>, Chunked), UpstreamError> {
        let (mut state, mut buffer, mut whole) = (Chunked::default(), BytesMut::new(), Vec::new());
        let mut cuts: Vec<usize> =
            cuts.iter().map(|cut| cut % (text.len() + 1)).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        for piece in cuts.windows(2) {
            buffer.extend_from_slice(&text[piece[0]..piece[1]]);
            whole.extend_from_slice(&state.take(&mut buffer)?);
        }
        Ok((whole, buffer.to_vec(), state))
    }

    proptest! {
        #[test]
        fn any_chunks_in_any_pieces_make_up_the_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..20),
            extension in prop_oneof![Just(""), Just(";x=\"y\""), Just(" ; x")],
            trailers in 0..3_usize,
            cuts in prop::collection::vec(any::<usize>(), 0..30),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n");
            text.extend_from_slice(&b"x-checksum: 1\r\n".repeat(trailers));
            text.extend_from_slice(b"\r\nHTTP");
            let (whole, behind, state) = taken(&text, &cuts).unwrap();
            prop_assert_eq!((whole, behind, state), (chunks.concat(), b"HTTP".to_vec(), Chunked::Done));
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_give_no_more_than_came(
            text in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'3')], 0..100),
            cuts in prop::collection::vec(any::<usize>(), 0..10),
        ) {
            if let Ok((whole, behind, _)) = taken(&text, &cuts) {
                prop_assert!(whole.len() + behind.len() <= text.len());
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = "1;".to_owned() + &"x".repeat(MOST_LINE_BYTES);
        let trailers = "0\r\n".to_owned() + &"a: b\r\n".repeat(100) + "\r\n";
        for text in [
            "x\r\n",
            "\r\n",
            "-1\r\n",
            "1 2\r\n",
            "1\n",
            "11111111111111111\r\n",
            "1\r\nab\r\n",
            &long,
            &trailers,
        ] {
            assert!(taken(text.as_bytes(), &[]).is_err(), "{text:.20}");
        }
    }
}
