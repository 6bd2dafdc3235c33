//! A worker's answer as bytes in pieces, taken apart as a connection does it: what a fuzz target can reach.

use bytes::BytesMut;
use http::Method;

use super::chunked::Chunked;
use super::head::{self, Framing};

/// Status and content of an answer, or as much of it as came, and what is left behind it; `None` if it is refused.
pub fn answer<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<(u16, Vec<u8>, Vec<u8>)> {
    let (mut buffer, mut begun, mut content) = (BytesMut::new(), None, Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if begun.is_none() {
            begun = head::read(&mut buffer, &Method::POST).ok()?;
        }
        let Some((_, ending)) = &mut begun else { continue };
        match &mut ending.framing {
            Framing::Chunked(state) if *state != Chunked::Done => {
                content.extend_from_slice(&state.take(&mut buffer).ok()?);
            }
            Framing::Chunked(_) => {}
            Framing::Length(left) => {
                let there = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                content.extend_from_slice(&buffer.split_to(there));
                *left -= there as u64;
            }
            Framing::UntilClose => content.extend_from_slice(&buffer.split()),
        }
    }
    let status = begun.map_or(0, |(parts, _)| parts.status.as_u16());
    Some((status, content, buffer.to_vec()))
}
