//! An answer on its way out: made piece by piece as the connection takes it, so that a stalled client costs nothing.

use std::io;

use axum::body::{Body, Bytes};
use futures_util::stream;
use warmroute_openai::ApiError;

use super::engine::Ticket;
use super::faults::Interruption;
use super::pieces::Pieces;
use super::text::Text;
use crate::line::Cut;

/// Tokens that are there are sent together up to this size: a system call for each would be most of what an instant worker
/// costs. hyper holds a few such pieces at most for a client that does not read.
const PIECE_BYTES: usize = 16 << 10;

/// An answer that is being sent.
pub(super) struct Reply {
    pub(super) ticket: Ticket,
    pub(super) pieces: Pieces,
    pub(super) text: Text,
    pub(super) tokens: u32,
    /// What happens after the first token, if all does not go well.
    pub(super) interruption: Option<Interruption>,
    pub(super) cut: Cut,
}

impl Reply {
    /// The bytes of the whole answer.
    pub(super) fn length(&self) -> usize {
        let text = self.tokens as usize * self.text.token_bytes;
        let again: usize = self.pieces.closing.again.iter().map(|piece| piece.len() + text).sum();
        self.ends() + self.tokens as usize * self.token_length() + again
    }

    /// The bytes of a token with what stands around it.
    fn token_length(&self) -> usize {
        self.pieces.before.len() + self.text.token_bytes + self.pieces.after.len()
    }

    /// The bytes before the first token and after the last, but for the text said again.
    fn ends(&self) -> usize {
        self.pieces.opening.len() + self.pieces.closing.before.len()
    }

    /// Whether it may go out at once: it is short, and nothing is to interrupt it.
    pub(super) fn is_simple(&self) -> bool {
        self.interruption.is_none() && self.length() <= PIECE_BYTES
    }

    /// All of it at once; the ticket must have reached the end.
    pub(super) fn into_whole(self) -> Bytes {
        let mut out = Vec::with_capacity(self.length());
        out.extend_from_slice(&self.pieces.opening);
        (0..self.tokens).for_each(|place| self.token(place, &mut out));
        self.close(&mut out);
        self.ticket.finish();
        out.into()
    }

    /// Piece by piece. Dropping the body ends the request.
    pub(super) fn into_body(self) -> Body {
        let sending = Sending { reply: Some(self), place: 0, stage: Stage::Open };
        Body::from_stream(stream::unfold(sending, |mut sending| async {
            let piece = sending.next().await?;
            Some((piece, sending))
        }))
    }

    fn token(&self, place: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pieces.before);
        self.text.write(place, out);
        out.extend_from_slice(&self.pieces.after);
    }

    fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pieces.closing.before);
        for piece in &self.pieces.closing.again {
            (0..self.tokens).for_each(|place| self.text.write(place, out));
            out.extend_from_slice(piece);
        }
    }
}

struct Sending {
    /// Until its last piece was made.
    reply: Option<Reply>,
    place: u32,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The error event is out; the connection must still be cut, since clients take a clean end for success.
    Broken,
}

impl Sending {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.stage == Stage::Broken {
            self.reply = None;
            return Some(Err(io::Error::other("the emulated engine stopped")));
        }
        let reply = self.reply.as_mut()?;
        if self.place > 0
            && let Some(interruption) = reply.interruption.take()
        {
            interruption.befall(&reply.cut).await;
            if interruption.breaks() {
                self.reply = None;
                return Some(Err(io::Error::other("a reset was asked for")));
            }
        }
        match reply.ticket.reached((self.place + 1).min(reply.tokens)).await {
            Ok(there) => Some(Ok(self.piece(there))),
            Err(error) => Some(Ok(self.broken(&error))),
        }
    }

    /// The tokens that are there, as many as go into a piece.
    fn piece(&mut self, there: u32) -> Bytes {
        let Some(reply) = &self.reply else { return Bytes::new() };
        let ready = there.saturating_sub(self.place) as usize * reply.token_length() + reply.ends();
        let mut out = Vec::with_capacity(ready.min(PIECE_BYTES));
        if self.place == 0 {
            out.extend_from_slice(&reply.pieces.opening);
        }
        let most = if reply.interruption.is_some() { 1 } else { reply.tokens };
        let last = there.min(self.place + most).min(reply.tokens);
        let first = self.place;
        // One at least, however long it is.
        while self.place < last && (self.place == first || out.len() + reply.token_length() < PIECE_BYTES) {
            reply.token(self.place, &mut out);
            self.place += 1;
        }
        // The end is not sent before an interruption that is still to come.
        if self.place == reply.tokens && reply.interruption.is_none() {
            reply.close(&mut out);
            if let Some(reply) = self.reply.take() {
                reply.ticket.finish();
            }
        }
        out.into()
    }

    fn broken(&mut self, error: &ApiError) -> Bytes {
        self.stage = Stage::Broken;
        error.sse_event().into()
    }
}
