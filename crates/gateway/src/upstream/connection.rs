//! One connection to a worker: bytes out, bytes in.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::Method;
use http::response::Parts;
use http::uri::Authority;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::io::poll_read_buf;

use super::head::{self, Ending};
use super::secure::{self, Secure};
use super::{Outbound, UpstreamError};
use crate::config::{Link, WorkerUrl};

/// A worker's port where its address names none.
pub(super) const HTTP_PORT: u16 = 80;
/// The same with TLS.
const HTTPS_PORT: u16 = 443;
/// SYN and FIN need not be told apart from a slow worker by the kernel's two-hour default: probe idle connections sooner.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// Room for one read: the whole of most answers and many tokens of a stream.
pub(super) const READ_BYTES: usize = 8 * 1024;
/// Room for one read of an answer that fills every read; the most that one answer holds of our memory.
const MOST_READ_BYTES: usize = 64 * 1024;
/// Room for the request's head, from the start.
pub(super) const HEAD_BYTES: usize = 2 * 1024;
/// Up to this length a request is sent as one piece: to copy its body behind its head costs less than to have the system collect both.
const ONE_PIECE_BYTES: usize = 16 * 1024;

/// An open connection.
pub(super) struct Connection {
    wire: Wire,
    /// What has come and was not yet taken.
    pub(super) buffer: BytesMut,
    /// Room that the next read gets.
    room: usize,
    /// The head that is sent, with the body behind it where that is short; kept for its memory.
    pub(super) head: Vec<u8>,
}

/// What carries the bytes.
enum Wire {
    Plain(TcpStream),
    /// A kilobyte of state, which plain connections need not carry.
    Secure(Box<Secure>),
}

/// How sending a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// All of it left. Otherwise the worker answered before it had read everything, as it does to refuse, and the connection cannot
    /// be used again.
    pub(super) whole: bool,
}

impl Connection {
    /// Opens one.
    pub(super) async fn open(to: &WorkerUrl, believed: &Arc<ClientConfig>) -> io::Result<Self> {
        let wire = match to.link() {
            Link::Http | Link::H2c => Wire::Plain(dial(to.authority(), HTTP_PORT).await?),
            Link::Https => {
                let name =
                    ServerName::try_from(bare_host(to.authority()).to_owned()).map_err(io::Error::other)?;
                let stream = dial(to.authority(), HTTPS_PORT).await?;
                let connector = TlsConnector::from(Arc::clone(believed));
                Wire::Secure(Box::new(connector.connect(name, stream).await?))
            }
        };
        let head = Vec::with_capacity(HEAD_BYTES);
        Ok(Self { wire, buffer: BytesMut::new(), room: READ_BYTES, head })
    }

    /// Whether the worker has neither closed it nor said anything unasked. Costs no system call unless it has.
    pub(super) fn is_quiet(&mut self) -> bool {
        let stream = match &mut self.wire {
            Wire::Plain(stream) => stream,
            Wire::Secure(stream) => return secure::is_quiet(stream),
        };
        let mut unasked = [0];
        matches!(stream.try_read(&mut unasked), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends the request, or as much of it as the worker takes before it answers.
    pub(super) async fn send(&mut self, outbound: &Outbound<'_>) -> Result<Sent, UpstreamError> {
        self.head.clear();
        head::write(&mut self.head, outbound);
        let mut body = &outbound.body[..];
        if self.head.len() + body.len() <= ONE_PIECE_BYTES {
            self.head.extend_from_slice(body);
            body = &[];
        }
        let parts = &mut [IoSlice::new(&self.head), IoSlice::new(body)];
        write_all(&mut self.wire, &mut self.buffer, parts).await
    }

    /// Sends the head of a request whose body comes piece by piece. Its body is sent by [`send_parts`](Self::send_parts).
    pub(super) async fn send_head(
        &mut self,
        outbound: &Outbound<'_>,
        length: Option<u64>,
    ) -> Result<Sent, UpstreamError> {
        self.head.clear();
        head::write_streamed(&mut self.head, outbound, length);
        write_all(&mut self.wire, &mut self.buffer, &mut [IoSlice::new(&self.head)]).await
    }

    /// Sends these bytes, or as many as the worker takes before it answers.
    pub(super) async fn send_parts(&mut self, parts: [&[u8]; 3]) -> Result<Sent, UpstreamError> {
        write_all(&mut self.wire, &mut self.buffer, &mut parts.map(IoSlice::new)).await
    }

    /// Ready when the worker says something final before it has read everything.
    pub(super) fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        let stream = match &mut self.wire {
            Wire::Plain(stream) => stream,
            Wire::Secure(stream) => return secure::poll_answers(stream, &mut self.buffer, cx),
        };
        loop {
            ready!(stream.poll_read_ready(cx)).map_err(UpstreamError::Broken)?;
            if answers(stream, &mut self.buffer)? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// The head of the answer to a request of this method, and where its body ends.
    pub(super) async fn head(&mut self, method: &Method) -> Result<(Parts, Ending), UpstreamError> {
        loop {
            if let Some(found) = head::read(&mut self.buffer, method)? {
                return Ok(found);
            }
            if std::future::poll_fn(|cx| self.poll_read(cx)).await? == 0 {
                return Err(UpstreamError::closed());
            }
        }
    }

    /// Reads what has come, at least one byte, into the buffer; zero is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, UpstreamError>> {
        let stream = match &mut self.wire {
            Wire::Plain(stream) => stream,
            Wire::Secure(stream) => {
                self.buffer.reserve(self.room);
                return secure::poll_read(stream, &mut self.buffer, cx);
            }
        };
        ready!(stream.poll_read_ready(cx)).map_err(UpstreamError::Broken)?;
        // Not before there is something to read: thousands of streams may be waiting.
        self.buffer.reserve(self.room);
        let room = self.buffer.capacity() - self.buffer.len();
        // A read that leaves room is known to be the last for now, which saves the system call that would say so.
        let read = poll_read_buf(Pin::new(stream), cx, &mut self.buffer);
        let count = ready!(read).map_err(UpstreamError::Broken)?;
        self.room = if count == room { (2 * self.room).min(MOST_READ_BYTES) } else { self.room };
        Poll::Ready(Ok(count))
    }

    /// Ready for the next request: what one long answer needed is given back.
    pub(super) fn rest(&mut self) {
        if self.room > READ_BYTES {
            self.shrink();
        }
    }

    /// Gives all room for reads back, until there is something to read, and that of a body that was sent.
    pub(super) fn shrink(&mut self) {
        self.room = READ_BYTES;
        self.buffer = BytesMut::new();
        self.head.clear();
        self.head.shrink_to(HEAD_BYTES);
    }
}

/// A bare connection to where a worker is.
pub(super) async fn dial(authority: &Authority, usual_port: u16) -> io::Result<TcpStream> {
    let port = authority.port_u16().unwrap_or(usual_port);
    let stream = TcpStream::connect((bare_host(authority), port)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE))?;
    Ok(stream)
}

fn bare_host(authority: &Authority) -> &str {
    authority.host().trim_start_matches('[').trim_end_matches(']')
}

/// What is opened, if it is within this time.
pub(super) async fn in_time<T>(
    limit: Duration,
    opened: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let too_slow = |_| io::Error::new(io::ErrorKind::TimedOut, "it took too long to connect");
    timeout(limit, opened).await.map_err(too_slow).flatten()
}

/// Writes all of it, or as much as the worker takes before it answers.
async fn write_all(
    wire: &mut Wire,
    buffer: &mut BytesMut,
    left: &mut [IoSlice<'_>],
) -> Result<Sent, UpstreamError> {
    match wire {
        Wire::Plain(stream) => write_plain(stream, buffer, left).await,
        Wire::Secure(stream) => secure::write_all(stream, buffer, left).await,
    }
}

async fn write_plain(
    stream: &TcpStream,
    buffer: &mut BytesMut,
    mut left: &mut [IoSlice<'_>],
) -> Result<Sent, UpstreamError> {
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let written = match &*left {
            [whole] => stream.try_write(whole),
            // The second is empty where a body was short.
            [whole, rest] if rest.is_empty() => stream.try_write(whole),
            parts => stream.try_write_vectored(parts),
        };
        match written {
            Ok(count) => IoSlice::advance_slices(&mut left, count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let ready = stream.ready(Interest::READABLE | Interest::WRITABLE).await;
                if ready.map_err(UpstreamError::Broken)?.is_readable() && answers(stream, buffer)? {
                    return Ok(Sent { whole: false });
                }
            }
            // A worker that refuses a long body may close without reading it; what it said is still to be read.
            Err(error) => match answers(stream, buffer) {
                Ok(true) => return Ok(Sent { whole: false }),
                Ok(false) | Err(_) => return Err(UpstreamError::Broken(error)),
            },
        }
    }
    Ok(Sent { whole: true })
}

/// Whether a worker that has not read all of a request has said something final.
fn answers(stream: &TcpStream, buffer: &mut BytesMut) -> Result<bool, UpstreamError> {
    buffer.reserve(READ_BYTES);
    match stream.try_read_buf(buffer) {
        Ok(0) => Err(UpstreamError::closed()),
        // "100 Continue" and its like only accompany the request.
        Ok(_) => Ok(!buffer.starts_with(b"HTTP/1.1 1")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(UpstreamError::Broken(error)),
    }
}
