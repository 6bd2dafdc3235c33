//! A worker that follows a script: it answers, hangs, refuses or dies as the test wants, and remembers what it was sent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::time::interval;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// What the worker does with a completion request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers with this head and these pieces of body, and then ends so.
    Answer { status: u16, headers: Vec<(&'static str, &'static str)>, pieces: Vec<&'static str>, end: End },
    /// Closes the connection without a word.
    Close,
    /// Says nothing until it is asked no more.
    Hang,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it should.
    Clean,
    /// The connection breaks.
    Die,
    /// Nothing more comes until `Worker::go_on` is called; then it ends as it should.
    Wait,
    /// Pieces of 16 kB come for as long as somebody takes them.
    Never,
}

/// What comes in an answer without end.
const PIECE: &[u8] = &[b'x'; 16 * 1024];

impl Act {
    /// An unstreamed answer that reports usage.
    pub(crate) fn json(body: &'static str) -> Self {
        Self::Answer {
            status: 200,
            headers: vec![("content-type", "application/json")],
            pieces: vec![body],
            end: End::Clean,
        }
    }

    /// A stream of these pieces.
    pub(crate) fn stream(pieces: &[&'static str], end: End) -> Self {
        let headers = vec![("content-type", "text/event-stream; charset=utf-8")];
        Self::Answer { status: 200, headers, pieces: pieces.to_vec(), end }
    }

    /// An error of the worker's own.
    pub(crate) fn status(status: u16, body: &'static str) -> Self {
        Self::Answer {
            status,
            headers: vec![("content-type", "application/json")],
            pieces: vec![body],
            end: End::Clean,
        }
    }
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What all connections of a worker share.
struct Script {
    act: Mutex<Act>,
    health: Mutex<StatusCode>,
    models: &'static str,
    metrics: &'static str,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// Pieces that an endless answer has given away.
    given: AtomicUsize,
    /// One permit for every answer that was dropped before its end.
    cancelled: Semaphore,
    proceed: Notify,
}

/// A scripted worker on a port of its own. Dropping it kills it.
pub(crate) struct Worker {
    pub(crate) address: SocketAddr,
    script: Arc<Script>,
    _alive: DropGuard,
}

impl Worker {
    pub(crate) async fn start(act: Act) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), act).await
    }

    /// A worker that describes itself.
    pub(crate) async fn describing(models: &'static str, metrics: &'static str) -> Self {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)), Act::json("{}"), models, metrics).await
    }

    pub(crate) async fn start_at(address: SocketAddr, act: Act) -> Self {
        Self::listen(address, act, "", "").await
    }

    async fn listen(address: SocketAddr, act: Act, models: &'static str, metrics: &'static str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Script {
            act: Mutex::new(act),
            health: Mutex::new(StatusCode::OK),
            models,
            metrics,
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            given: AtomicUsize::new(0),
            cancelled: Semaphore::new(0),
            proceed: Notify::new(),
        });
        let (life, tasks) = (CancellationToken::new(), TaskTracker::new());
        let accepting = accept(listener, script.clone(), tasks.clone(), life.clone());
        tasks.spawn(life.clone().run_until_cancelled_owned(accepting));
        Self { address, script, _alive: life.drop_guard() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Drops the listener and all connections, as a crash would.
    pub(crate) fn kill(self) -> SocketAddr {
        self.address
    }

    pub(crate) fn act(&self, act: Act) {
        *self.script.act.lock() = act;
    }

    pub(crate) fn health(&self, status: u16) {
        *self.script.health.lock() = StatusCode::from_u16(status).unwrap();
    }

    /// The completion requests that arrived so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().clone()
    }

    /// Forgets those requests.
    pub(crate) fn forget(&self) {
        self.script.seen.lock().clear();
    }

    /// Connections that were made to it so far.
    pub(crate) fn connections(&self) -> usize {
        self.script.connections.load(Ordering::SeqCst)
    }

    /// Waits until nobody takes more of an endless answer; returns the bytes that were taken.
    pub(crate) async fn stalled(&self) -> usize {
        let mut look = interval(Duration::from_millis(100));
        let mut before = usize::MAX;
        loop {
            look.tick().await;
            let given = self.script.given.load(Ordering::SeqCst) * PIECE.len();
            if given > 0 && given == before {
                return given;
            }
            before = given;
        }
    }

    /// Lets an answer with `End::Wait` end.
    pub(crate) fn go_on(&self) {
        self.script.proceed.notify_one();
    }

    /// Waits until an answer was dropped before its end.
    pub(crate) async fn cancelled(&self) {
        self.script.cancelled.acquire().await.unwrap().forget();
    }
}

async fn accept(listener: TcpListener, script: Arc<Script>, tasks: TaskTracker, life: CancellationToken) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let asked = script.clone();
        let service = service_fn(move |request| answer(asked.clone(), request));
        script.connections.fetch_add(1, Ordering::SeqCst);
        let connection = async move {
            // HTTP/1.1 or HTTP/2, as the gateway begins.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        };
        tasks.spawn(life.clone().run_until_cancelled_owned(connection));
    }
}

async fn answer(
    script: Arc<Script>,
    request: Request<Incoming>,
) -> Result<Response<ScriptedBody>, &'static str> {
    let plain = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(ScriptedBody::new(&[text], End::Clean, script.clone()));
        *response.status_mut() = status;
        Ok(response)
    };
    match request.uri().path() {
        "/health" => return plain(*script.health.lock(), ""),
        "/metrics" => return plain(StatusCode::OK, script.metrics),
        "/v1/models" => return plain(StatusCode::OK, script.models),
        _ => {}
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "the request broke off")?.to_bytes();
    let seen = Seen {
        method: head.method,
        version: head.version,
        path: head.uri.to_string(),
        headers: head.headers,
        body,
    };
    script.seen.lock().push(seen);
    let act = script.act.lock().clone();
    match act {
        Act::Close => Err("closing without a word"),
        Act::Hang => {
            let _cancelled = Unfinished(Some(script.clone()));
            std::future::pending().await
        }
        Act::Answer { status, headers, pieces, end } => {
            let mut response = Response::new(ScriptedBody::new(&pieces, end, script.clone()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in headers {
                response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            Ok(response)
        }
    }
}

/// Counts as cancelled when it is dropped before it was told of the end.
struct Unfinished(Option<Arc<Script>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(script) = self.0.take() {
            script.cancelled.add_permits(1);
        }
    }
}

/// A scripted body: always chunked, so that its end can be missing.
struct ScriptedBody {
    pieces: VecDeque<Bytes>,
    end: End,
    /// A death is seen only after the pieces before it were flushed: once pending, then the error.
    flushed: bool,
    proceed: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    unfinished: Unfinished,
    script: Arc<Script>,
}

impl ScriptedBody {
    fn new(pieces: &[&'static str], end: End, script: Arc<Script>) -> Self {
        let pieces =
            pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| Bytes::from_static(piece.as_bytes()));
        let proceeding = script.clone();
        Self {
            pieces: pieces.collect(),
            end,
            flushed: false,
            proceed: Box::pin(async move { proceeding.proceed.notified().await }),
            unfinished: Unfinished(Some(Arc::clone(&script))),
            script,
        }
    }
}

impl http_body::Body for ScriptedBody {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if self.end == End::Never {
            self.script.given.fetch_add(1, Ordering::SeqCst);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE)))));
        }
        if self.end == End::Wait {
            std::task::ready!(self.proceed.as_mut().poll(cx));
            self.end = End::Clean;
        }
        if !std::mem::replace(&mut self.flushed, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.unfinished.0 = None;
        Poll::Ready((self.end == End::Die).then_some(Err("dying")))
    }
}
