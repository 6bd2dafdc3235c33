//! Bytes to and from a worker over TLS: the same calls as over a bare socket, by polling, since a record is no read.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::io::poll_read_buf;

use super::UpstreamError;
use super::connection::{READ_BYTES, Sent};

/// A connection with TLS.
pub(super) type Secure = TlsStream<TcpStream>;

/// Whether the worker has neither closed it nor said anything unasked. Tickets that come late are taken and are no news.
pub(super) fn is_quiet(stream: &mut Secure) -> bool {
    let mut unasked = [0];
    let read =
        Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut unasked));
    read.is_pending()
}

/// Writes all of it, or as much as the worker takes before it answers.
pub(super) async fn write_all(
    stream: &mut Secure,
    buffer: &mut BytesMut,
    mut left: &mut [IoSlice<'_>],
) -> Result<Sent, UpstreamError> {
    IoSlice::advance_slices(&mut left, 0);
    std::future::poll_fn(|cx| match poll_write(stream, &mut left, cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(Sent { whole: true })),
        // A worker that refuses a long body may close without reading it; what it said is still to be read.
        Poll::Ready(Err(error)) => Poll::Ready(match poll_answers(stream, buffer, cx) {
            Poll::Ready(Ok(())) => Ok(Sent { whole: false }),
            _ => Err(UpstreamError::Broken(error)),
        }),
        Poll::Pending => poll_answers(stream, buffer, cx).map_ok(|()| Sent { whole: false }),
    })
    .await
}

fn poll_write(
    stream: &mut Secure,
    left: &mut &mut [IoSlice<'_>],
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<()>> {
    while !left.is_empty() {
        let count = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, left))?;
        IoSlice::advance_slices(left, count);
    }
    Pin::new(stream).poll_flush(cx)
}

/// Ready when the worker says something final before it has read everything.
pub(super) fn poll_answers(
    stream: &mut Secure,
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<Result<(), UpstreamError>> {
    loop {
        buffer.reserve(READ_BYTES);
        match ready!(poll_read_buf(Pin::new(&mut *stream), cx, buffer)) {
            Ok(0) => return Poll::Ready(Err(UpstreamError::closed())),
            // "100 Continue" and its like only accompany the request.
            Ok(_) if buffer.starts_with(b"HTTP/1.1 1") => {}
            Ok(_) => return Poll::Ready(Ok(())),
            Err(error) => return Poll::Ready(Err(UpstreamError::Broken(error))),
        }
    }
}

/// Reads what has come, at least one byte, into room that the buffer has; zero is the end.
pub(super) fn poll_read(
    stream: &mut Secure,
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, UpstreamError>> {
    poll_read_buf(Pin::new(stream), cx, buffer).map_err(UpstreamError::Broken)
}
