//! HTTP/2 connections to workers (h2c, by prior knowledge): each carries many requests at once.
//!
//! Frames and windows are hyper's. Ours is how many requests share a connection, and how much one of them may hold: every stream has a
//! window of its own, and the connection's is as large as all of theirs, so that a client that stalls holds nobody else up.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{Interrupted, Outbound, UpstreamError, connection};
use crate::config::WorkerUrl;
use crate::tasks::Owned;

/// Requests that share a connection, at most; servers allow about as many (RFC 9113 recommends no fewer).
const MOST_STREAMS: usize = 100;
/// What a worker may send on a stream before its client has taken some of it.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MOST_STREAMS as u32;
/// A connection that has died is noticed within this and half as much again.
const PING_EVERY: Duration = Duration::from_secs(20);

/// A request's body: whole, or piece by piece.
type Sending = Either<Full<Bytes>, Channel<Bytes, io::Error>>;

/// The connections to all workers that speak HTTP/2.
pub(super) struct Shared {
    /// Guards the map only; each worker's connections have a lock of their own.
    workers: Mutex<HashMap<WorkerUrl, Arc<Turn<Vec<Line>>>>>,
    keep: Duration,
    /// Connections end with their last request once nobody can begin one.
    tasks: Owned,
}

/// One connection.
struct Line {
    sender: SendRequest<Sending>,
    /// Held once by every request on it.
    streams: Arc<()>,
    used: Instant,
}

impl Line {
    fn streams(&self) -> usize {
        Arc::strong_count(&self.streams) - 1
    }
}

impl Shared {
    pub(super) fn new(keep: Duration) -> Self {
        Self { workers: Mutex::default(), keep, tasks: Owned(TaskTracker::new()) }
    }

    /// Sends a request whose body is whole; returns when the head of the answer is there.
    pub(super) async fn request(
        &self,
        outbound: &Outbound<'_>,
        connect_timeout: Duration,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let body = Either::Left(Full::new(outbound.body.clone()));
        let (mut sender, stream) = self.line(outbound, connect_timeout).await?;
        answer(sender.send_request(request(outbound, body)).await, stream)
    }

    /// The same for a body that goes on with `rest`. What the worker leaves unread when it answers is dropped.
    pub(super) async fn request_streamed<B: Body<Data = Bytes> + Unpin>(
        &self,
        outbound: &Outbound<'_>,
        connect_timeout: Duration,
        rest: &mut B,
    ) -> Result<Response<Incoming>, Interrupted<B::Error>> {
        let (mut sender, stream) = self.line(outbound, connect_timeout).await?;
        let (mut pieces, body) = Channel::new(1);
        let mut answered = std::pin::pin!(sender.send_request(request(outbound, Either::Right(body))));
        let feed = async {
            let mut next = Some(Ok(Frame::data(outbound.body.clone())));
            while let Some(frame) = next {
                let Ok(piece) = frame.map_err(Interrupted::Body)?.into_data() else { break };
                if pieces.send_data(piece).await.is_err() {
                    break; // the worker has heard enough
                }
                next = std::future::poll_fn(|cx| Pin::new(&mut *rest).poll_frame(cx)).await;
            }
            drop(pieces);
            Ok::<_, Interrupted<B::Error>>(())
        };
        let answered = tokio::select! {
            biased;
            answered = answered.as_mut() => answered,
            fed = feed => {
                fed?;
                answered.await
            }
        };
        Ok(answer(answered, stream)?)
    }

    /// A connection with room. Whoever finds none opens one, and who comes meanwhile waits for that instead of opening another.
    async fn line(
        &self,
        outbound: &Outbound<'_>,
        connect_timeout: Duration,
    ) -> Result<(SendRequest<Sending>, Arc<()>), UpstreamError> {
        let lines = Arc::clone(self.workers.lock().entry(outbound.to.clone()).or_default());
        let found = async {
            let mut lines = lines.lock().await;
            let now = Instant::now();
            lines.retain(|line| {
                !line.sender.is_closed() && (line.streams() > 0 || line.used + self.keep > now)
            });
            let free = |line: &&mut Line| !outbound.fresh && line.streams() < MOST_STREAMS;
            if let Some(line) = lines.iter_mut().find(free) {
                line.used = now;
                return Ok((line.sender.clone(), Arc::clone(&line.streams)));
            }
            let sender = self.open(outbound.to).await?;
            let line = Line { sender: sender.clone(), streams: Arc::default(), used: now };
            let stream = Arc::clone(&line.streams);
            lines.push(line);
            Ok((sender, stream))
        };
        connection::in_time(connect_timeout, found).await.map_err(UpstreamError::Connect)
    }

    async fn open(&self, to: &WorkerUrl) -> io::Result<SendRequest<Sending>> {
        let stream = connection::dial(to.authority(), connection::HTTP_PORT).await?;
        let mut builder = Builder::new(self.tasks.clone());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        self.tasks.0.spawn(driver);
        Ok(sender)
    }
}

fn request(outbound: &Outbound<'_>, body: Sending) -> Request<Sending> {
    let mut request = Request::new(body);
    let target = Uri::builder().scheme("http").authority(outbound.to.authority().clone());
    *request.method_mut() = outbound.method.clone();
    *request.uri_mut() =
        target.path_and_query(outbound.path.clone()).build().expect("all three parts are there");
    *request.headers_mut() = outbound.headers.clone();
    *request.version_mut() = Version::HTTP_2;
    request
}

fn answer(
    answered: hyper::Result<Response<hyper::body::Incoming>>,
    stream: Arc<()>,
) -> Result<Response<Incoming>, UpstreamError> {
    let (mut head, body) = answered.map_err(failure)?.into_parts();
    // The client's own connection has a version of its own.
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(head, Incoming { body, _stream: stream }))
}

fn failure(error: hyper::Error) -> UpstreamError {
    // It never left: the connection was about to close.
    if error.is_canceled() {
        return UpstreamError::Connect(io::Error::new(io::ErrorKind::ConnectionAborted, error));
    }
    UpstreamError::Broken(io::Error::other(error))
}

/// A body on its way from a worker; dropping it before its end resets its stream.
pub(crate) struct Incoming {
    body: hyper::body::Incoming,
    _stream: Arc<()>,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        Pin::new(&mut self.body).poll_frame(cx).map_err(failure)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
