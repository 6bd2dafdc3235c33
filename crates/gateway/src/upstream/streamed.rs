//! A request whose body is passed on as it comes: one piece is read when the one before has left, so neither side can fill our memory.
//!
//! It always opens a connection of its own: on one that was kept, a worker may be about to close, and what has been read of such a body
//! cannot be sent again.

use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tokio::time::Instant;

use super::connection::Connection;
use super::{Incoming, Outbound, Upstream, UpstreamError, body};
use crate::config::Link;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Interrupted<E> {
    /// The worker's side failed.
    Worker(UpstreamError),
    /// The body did not come whole.
    Body(E),
}

impl<E> From<UpstreamError> for Interrupted<E> {
    fn from(error: UpstreamError) -> Self {
        Self::Worker(error)
    }
}

/// What comes next while a body is passed on.
enum Next {
    Piece(Bytes),
    End,
    /// The worker has heard enough.
    Answer,
}

impl Upstream {
    /// Sends a request whose body begins with `outbound.body`, goes on with `rest`, and is of this length if that is known. Nothing of
    /// `rest` has been taken if no connection was to be had.
    pub(crate) async fn request_streamed<B: Body<Data = Bytes> + Unpin>(
        &self,
        outbound: &Outbound<'_>,
        length: Option<u64>,
        rest: &mut B,
    ) -> Result<Response<Incoming>, Interrupted<B::Error>> {
        if outbound.to.link() == Link::H2c {
            let response = self.shared.request_streamed(outbound, self.connect_timeout, rest).await?;
            return Ok(response.map(Incoming::Shared));
        }
        let mut connection = self.connect(outbound.to).await?;
        let chunked = length.is_none();
        let mut whole = connection.send_head(outbound, length).await?.whole
            && send_piece(&mut connection, outbound.body, chunked).await?;
        while whole {
            match next(&mut connection, rest).await? {
                Next::Piece(piece) => whole = send_piece(&mut connection, &piece, chunked).await?,
                Next::Answer => whole = false,
                Next::End if chunked => {
                    whole = connection.send_parts([b"0\r\n\r\n", b"", b""]).await?.whole;
                    break;
                }
                Next::End => break,
            }
        }
        let (parts, mut ending) = connection.head(&outbound.method).await?;
        ending.reusable &= whole;
        let body = body::Incoming::new(connection, ending, self.pool.of(outbound.to, Instant::now()));
        Ok(Response::from_parts(parts, Incoming::Alone(body)))
    }
}

/// Whether all of it left.
async fn send_piece(
    connection: &mut Connection,
    piece: &Bytes,
    chunked: bool,
) -> Result<bool, UpstreamError> {
    if piece.is_empty() {
        return Ok(true); // an empty chunk would be the last
    }
    if !chunked {
        return Ok(connection.send_parts([piece, b"", b""]).await?.whole);
    }
    let size = format!("{:x}\r\n", piece.len());
    Ok(connection.send_parts([size.as_bytes(), piece, b"\r\n"]).await?.whole)
}

async fn next<B: Body<Data = Bytes> + Unpin>(
    connection: &mut Connection,
    rest: &mut B,
) -> Result<Next, Interrupted<B::Error>> {
    std::future::poll_fn(|cx| {
        loop {
            match Pin::new(&mut *rest).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(Ok(Next::End)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Interrupted::Body(error))),
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers, which no such request has, are passed over.
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Ok(Next::Piece(piece)));
                    }
                }
                Poll::Pending => break,
            }
        }
        connection.poll_answers(cx).map(|answered| Ok(answered.map(|()| Next::Answer)?))
    })
    .await
}
