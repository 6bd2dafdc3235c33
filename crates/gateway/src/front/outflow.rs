//! A body on its way to the client: a worker's, passed on as it comes, or one of our own.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::relay::Relay;

/// The body of any answer of the gateway.
pub(crate) enum Outflow {
    /// A worker's. A kilobyte of state, which hyper would move from hand to hand.
    Relayed(Box<Relay>),
    /// Ours: an error, or what is asked of the gateway itself.
    Whole(Body),
}

impl Outflow {
    /// Whether it comes from no worker.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Whole(_))
    }
}

impl http_body::Body for Outflow {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Relayed(relay) => Pin::new(&mut **relay).poll_frame(cx).map_err(Into::into),
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Relayed(relay) => relay.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Relayed(relay) => relay.size_hint(),
            Self::Whole(body) => body.size_hint(),
        }
    }
}
