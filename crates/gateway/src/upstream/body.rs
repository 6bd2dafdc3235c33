//! The body of a worker's answer, piece by piece as it is read.
//!
//! A piece is what one read brought. When the last one has been taken the connection goes back to the pool; a body that is dropped
//! before closes it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::UpstreamError;
use super::chunked::Chunked;
use super::connection::Connection;
use super::head::{Ending, Framing};
use super::pool::Idle;

/// A body on its way from a worker.
pub(crate) struct Incoming {
    /// Where it comes from; nothing once it has all been read.
    connection: Option<Connection>,
    ending: Ending,
    /// Where the connection goes then.
    idle: Arc<Idle>,
}

impl Incoming {
    /// What follows the head on this connection.
    pub(super) fn new(connection: Connection, ending: Ending, idle: Arc<Idle>) -> Self {
        let mut body = Self { connection: Some(connection), ending, idle };
        if body.ending.framing == Framing::Length(0) {
            body.finish();
        }
        body
    }

    /// What has been read of it and not been taken yet.
    fn buffered(&mut self) -> Result<Bytes, UpstreamError> {
        let Some(connection) = &mut self.connection else { return Ok(Bytes::new()) };
        let buffer = &mut connection.buffer;
        let (piece, whole) = match &mut self.ending.framing {
            Framing::Length(left) => {
                let there = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= there as u64;
                (buffer.split_to(there).freeze(), *left == 0)
            }
            Framing::Chunked(state) => (state.take(buffer)?, *state == Chunked::Done),
            Framing::UntilClose => (buffer.split().freeze(), false),
        };
        if whole {
            self.finish();
        }
        Ok(piece)
    }

    /// All has been read.
    fn finish(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // Bytes beyond the body belong to no request of ours.
        if self.ending.reusable && connection.buffer.is_empty() {
            connection.rest();
            self.idle.give(connection);
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        loop {
            let piece = self.buffered()?;
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            if ready!(connection.poll_read(cx))? == 0 {
                self.connection = None;
                let complete = self.ending.framing == Framing::UntilClose;
                return Poll::Ready((!complete).then(|| Err(UpstreamError::closed())));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.ending.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            Framing::Chunked(_) | Framing::UntilClose => SizeHint::default(),
        }
    }
}
