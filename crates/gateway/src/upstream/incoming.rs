//! A body on its way from a worker, whatever kind of connection it comes on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{UpstreamError, body, shared};

/// A body on its way from a worker. Dropping it before its end tells the worker that nobody listens.
pub(crate) enum Incoming {
    /// On a connection of its own.
    Alone(body::Incoming),
    /// On a connection that others share.
    Shared(shared::Incoming),
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match self.get_mut() {
            Self::Alone(body) => Pin::new(body).poll_frame(cx),
            Self::Shared(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Alone(body) => body.is_end_stream(),
            Self::Shared(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Alone(body) => body.size_hint(),
            Self::Shared(body) => body.size_hint(),
        }
    }
}
