//! Spares a connection the second look that hyper makes it take at itself for each request.
//!
//! Whoever takes a piece of a request's body off hyper wakes the connection, since it may have to read on. When the piece was the
//! last, as the only one of most requests is, it has not, and all of the connection's task would run once more for nothing. So a
//! connection is [polled](Quiet) with a waker of its own, through which the wake-up that comes with [such a piece](Inflow) does not go.
//!
//! HTTP/2 is left alone: a connection has to be woken there to tell that it has room again.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::server::graceful::GracefulConnection;

/// A connection that is polled with a waker of its own.
pub(crate) struct Quiet<'c, C> {
    connection: Pin<&'c mut C>,
    /// The waker, and the task's that it stands for.
    waker: Option<(Waker, Waker)>,
}

impl<'c, C: GracefulConnection> Quiet<'c, C> {
    pub(crate) fn new(connection: Pin<&'c mut C>) -> Self {
        Self { connection, waker: None }
    }

    /// It takes no further request.
    pub(crate) fn graceful_shutdown(&mut self) {
        self.connection.as_mut().graceful_shutdown();
    }
}

impl<C: GracefulConnection> Future for Quiet<'_, C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.get_mut();
        let known = this.waker.take().filter(|(_, task)| task.will_wake(cx.waker()));
        let (waker, _) = this.waker.insert(known.unwrap_or_else(|| {
            let task = cx.waker().clone();
            (Arc::new(Door(task.clone())).into(), task)
        }));
        this.connection.as_mut().poll(&mut Context::from_waker(waker))
    }
}

thread_local! {
    /// Whether a wake-up that comes now is to be passed on, kept from it, or was kept from it. Of one thread, so that what
    /// others have to say at the same time is heard.
    static HEARING: Cell<Hearing> = const { Cell::new(Hearing::Open) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hearing {
    Open,
    Closed,
    Knocked,
}

/// While it lives, nothing is heard on this thread.
struct Deaf;

impl Deaf {
    fn begin() -> Self {
        HEARING.set(Hearing::Closed);
        Self
    }

    /// Returns whether there was anything to hear.
    fn end(self) -> bool {
        HEARING.get() == Hearing::Knocked
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        HEARING.set(Hearing::Open);
    }
}

/// Wakes a task, unless nobody is to hear it.
struct Door(Waker);

impl Wake for Door {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match HEARING.get() {
            Hearing::Open => self.0.wake_by_ref(),
            Hearing::Closed | Hearing::Knocked => HEARING.set(Hearing::Knocked),
        }
    }
}

/// A request's body. Its last piece wakes nobody.
pub(crate) struct Inflow {
    body: Incoming,
    /// It is all that comes on its connection meanwhile.
    alone: bool,
}

impl Inflow {
    /// The request with such a body.
    pub(crate) fn of(request: Request<Incoming>) -> Request<Self> {
        let alone = request.version() < Version::HTTP_2;
        request.map(|body| Self { body, alone })
    }
}

impl Body for Inflow {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.alone {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        let deaf = Deaf::begin();
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if deaf.end() && !self.body.is_end_stream() {
            cx.waker().wake_by_ref();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Response;
    use http_body_util::{BodyExt, Full};
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::server::conn::auto::Builder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends each piece, lets the server look once, and returns how often it was woken by what it saw; and all that it said.
    async fn ask(pieces: &[&str]) -> (Vec<usize>, String) {
        let (mut client, server): (DuplexStream, DuplexStream) = duplex(1024);
        let echo = service_fn(|request: Request<Incoming>| async {
            let body = Inflow::of(request).into_body().collect().await.unwrap().to_bytes();
            Ok::<_, Infallible>(Response::new(Full::new(body)))
        });
        let builder = Builder::new(TokioExecutor::new());
        let connection = std::pin::pin!(builder.serve_connection(TokioIo::new(server), echo));
        let mut quiet = Quiet::new(connection);
        let mut seen = Vec::new();
        for piece in pieces {
            client.write_all(piece.as_bytes()).await.unwrap();
            let wakes = Arc::new(Wakes::default());
            let looked = Pin::new(&mut quiet).poll(&mut Context::from_waker(&Arc::clone(&wakes).into()));
            assert!(looked.is_pending());
            seen.push(wakes.0.load(Ordering::Relaxed));
        }
        let mut answer = vec![0; 1024];
        let length = client.read(&mut answer).await.unwrap();
        (seen, String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    const HEAD: &str = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n";

    #[tokio::test]
    async fn a_request_that_has_come_whole_wakes_nobody_when_it_is_read() {
        let (wakes, answer) = ask(&[&format!("{HEAD}body")]).await;
        assert_eq!(wakes, [0]);
        assert!(answer.ends_with("\r\n\r\nbody"), "{answer}");
    }

    #[tokio::test]
    async fn a_piece_behind_which_another_comes_is_told_of() {
        let (wakes, answer) = ask(&[&format!("{HEAD}bo"), "dy"]).await;
        assert_eq!(wakes, [1, 0]);
        assert!(answer.ends_with("\r\n\r\nbody"), "{answer}");
    }
}
