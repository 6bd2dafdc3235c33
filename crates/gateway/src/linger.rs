//! Closes a client's connection in a way that lets the last answer arrive.
//!
//! A request may be refused before all of it was read: too large, no key, no HTTP. Closing a socket with unread bytes in it makes the
//! system reset the connection, and a reset discards what the client has not read yet: the very answer that says why. So the end of our
//! side is told first, and what still comes is read and dropped until the client has closed too, within bounds of time and bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may go on sending what nobody reads: it will notice our end at its next look.
const LINGER: Duration = Duration::from_secs(5);
/// How much of it is taken off its hands; most clients send all of a body before they look, and a body may be as long as this.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// Bytes dropped at once.
const DROPPED_BYTES: usize = 16 * 1024;

/// A connection that is closed so.
pub(crate) struct Lingering<S> {
    stream: S,
    refused: Refused,
    closing: Option<Closing>,
}

/// Whether the last request was refused though more of it may come. Shared with whoever answers requests.
#[derive(Clone, Default)]
pub(crate) struct Refused(Arc<AtomicBool>);

impl Refused {
    pub(crate) fn set(&self, refused: bool) {
        self.0.store(refused, Ordering::Relaxed);
    }
}

/// Our side has ended.
struct Closing {
    ends: Pin<Box<Sleep>>,
    left: usize,
    /// Something comes, or is expected to.
    waits: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lingering<S> {
    pub(crate) fn new(stream: S, refused: Refused) -> Self {
        Self { stream, refused, closing: None }
    }

    /// Reads and drops until the client has closed or a bound is reached.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(closing) = &mut self.closing else { return Poll::Ready(()) };
        while closing.left > 0 {
            let mut space = [0; DROPPED_BYTES];
            let mut dropped = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut dropped) {
                Poll::Ready(Ok(())) if !dropped.filled().is_empty() => {
                    closing.waits = true;
                    closing.left = closing.left.saturating_sub(dropped.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                // A client that has sent all it wanted has nothing to lose by a reset.
                Poll::Pending if !closing.waits => return Poll::Ready(()),
                Poll::Pending => return closing.ends.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            let waits = self.refused.0.load(Ordering::Relaxed);
            self.closing = Some(Closing { ends: Box::pin(sleep(LINGER)), left: LINGER_BYTES, waits });
        }
        self.poll_drop(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_refused_client_still_sends_is_dropped_until_it_closes() {
        let (mut client, gateway) = duplex(64);
        let refused = Refused::default();
        refused.set(true);
        let mut gateway = Lingering::new(gateway, refused);
        let send = async {
            client.write_all(&[0; 100_000]).await.unwrap();
            // Only then does it look.
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            drop(client);
            answer
        };
        gateway.write_all(b"413").await.unwrap();
        let (closed, answer) = tokio::join!(gateway.shutdown(), send);
        closed.unwrap();
        assert_eq!(answer, "413");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_neither_sends_nor_closes_is_left_after_a_while() {
        let (_client, gateway) = duplex(64);
        let refused = Refused::default();
        refused.set(true);
        let began = Instant::now();
        Lingering::new(gateway, refused).shutdown().await.unwrap();
        assert_eq!(began.elapsed(), LINGER);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_client_whose_requests_were_read() {
        let (_client, gateway) = duplex(64);
        let began = Instant::now();
        Lingering::new(gateway, Refused::default()).shutdown().await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
