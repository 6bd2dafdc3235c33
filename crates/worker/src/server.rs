//! Sockets: accepts connections, serves each in a task of its own, and can end them gently or as a crash would.
//!
//! Not `axum::serve`, which can only end gently: the fleet's tests must be able to kill a worker inside their own process.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::line::{Cut, Line};

/// Connections served at the same time; what comes beyond is closed at once.
const MAX_CONNECTIONS: usize = 4096;

/// A client that has not sent its request's headers by then is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after a failed accept (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What answers the requests of one connection; an error closes it without an answer.
pub(crate) type Answering =
    Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, io::Result<Response<Body>>> + Send + Sync>;

/// What stands behind a listener: asked for every connection, and may send it away unheard.
pub(crate) type Front = Box<dyn Fn(Caller) -> Option<Answering> + Send + Sync>;

/// Who called, and the means to hang up on them.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    pub(crate) cut: Cut,
}

/// The tasks of one listener. Dropping it kills them.
#[derive(Debug)]
pub(crate) struct Server {
    tasks: TaskTracker,
    /// No new connections, and none kept open after its present request.
    drain: CancellationToken,
    /// Nothing more at all.
    kill: CancellationToken,
}

impl Server {
    /// Starts to accept.
    pub(crate) fn start(listener: TcpListener, front: Front) -> Self {
        let server = Self {
            tasks: TaskTracker::new(),
            drain: CancellationToken::new(),
            kill: CancellationToken::new(),
        };
        let executor = Owned { tasks: server.tasks.clone(), kill: server.kill.clone() };
        let mut builder = auto::Builder::new(executor);
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        builder.http2().timer(TokioTimer::new());
        let acceptor = Acceptor {
            tasks: server.tasks.clone(),
            drain: server.drain.clone(),
            kill: server.kill.clone(),
            builder: Arc::new(builder),
            front,
        };
        server.tasks.spawn(acceptor.run(listener));
        server
    }

    /// Stops accepting and lets every connection finish its present request; those still open after `grace` are cut.
    pub(crate) async fn shutdown(self, grace: Duration) {
        self.drain.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "connections were cut after the grace time");
        }
        // Dropping self cuts what is left.
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

/// Runs hyper's own tasks (HTTP/2 streams) under our tracker, so that a kill reaches them.
#[derive(Clone)]
struct Owned {
    tasks: TaskTracker,
    kill: CancellationToken,
}

impl<F> Executor<F> for Owned
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.tasks.spawn(self.kill.clone().run_until_cancelled_owned(task));
    }
}

struct Acceptor {
    tasks: TaskTracker,
    drain: CancellationToken,
    kill: CancellationToken,
    builder: Arc<auto::Builder<Owned>>,
    front: Front,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.drain.cancelled() => return,
                () = self.kill.cancelled() => return,
            };
            match accepted {
                Ok(_) if self.tasks.len() > MAX_CONNECTIONS => {
                    tracing::warn!("too many connections; one was closed")
                }
                Ok((socket, address)) => self.serve(socket, address),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, socket: TcpStream, address: SocketAddr) {
        // Every token is a small write of its own: Nagle's algorithm would hold it back for a round trip.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let line = Line { socket, cut: Cut::default() };
        let Some(answering) = (self.front)(Caller { address, cut: line.cut.clone() }) else { return };
        let builder = Arc::clone(&self.builder);
        let service = service_fn(move |request| answering(request));
        let drain = self.drain.clone();
        let connection = async move {
            let connection = builder.serve_connection(TokioIo::new(line), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = drain.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        };
        self.tasks.spawn(self.kill.clone().run_until_cancelled_owned(connection));
    }
}
