//! A client's connection, with TLS or without. One match for each call is all that the latter pays for the former.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A connection.
pub(crate) enum Socket {
    Plain(TcpStream),
    /// A kilobyte of state, which plain connections need not carry.
    Secure(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Shakes hands, if the client is to be shown something. Sets no limit to the time that takes.
    pub(crate) async fn open(stream: TcpStream, shown: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let Some(shown) = shown else { return Ok(Self::Plain(stream)) };
        Ok(Self::Secure(Box::new(TlsAcceptor::from(shown).accept(stream).await?)))
    }
}

macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Socket::Secure(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if parts.iter().map(|part| part.len()).sum::<usize>() > JOINED_BYTES {
            return either!(self, stream => stream.poll_write_vectored(cx, parts));
        }
        JOINED.with_borrow_mut(|joined| {
            joined.clear();
            parts.iter().for_each(|part| joined.extend_from_slice(part));
            self.poll_write(cx, joined)
        })
    }

    fn is_write_vectored(&self) -> bool {
        // As both kinds are.
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}

/// Up to this length the parts of a message are put together: several cost the system some 300 ns of 4,500 more than one, and are copied
/// in less.
const JOINED_BYTES: usize = 4 * 1024;

thread_local! {
    /// Where this is done.
    static JOINED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(JOINED_BYTES));
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_message_arrives_as_it_is_whether_its_parts_are_joined_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (mut client, mut socket) = (client.unwrap(), Socket::Plain(accepted.unwrap().0));
        for length in [0, 1, JOINED_BYTES - 4, JOINED_BYTES - 3, 2 * JOINED_BYTES] {
            let body = vec![b'b'; length];
            let parts = ["head".as_bytes(), b"", &body].map(IoSlice::new);
            // The system has room for all of it.
            assert_eq!(socket.write_vectored(&parts).await.unwrap(), 4 + length);
            let mut came = vec![0; 4 + length];
            client.read_exact(&mut came).await.unwrap();
            assert_eq!(came, [&b"head"[..], &body].concat());
        }
    }
}
