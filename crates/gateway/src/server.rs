//! The listener and its connections: HTTP/1.1 and HTTP/2 on one port, bounded in number, drained in order.
//!
//! A connection's life has two signals: `stop` lets it finish what it is doing, `abort` drops it where it stands.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::GatewayConfig;
use crate::front::Front;
use crate::lanes::Lane;
use crate::linger::{Lingering, Refused};
use crate::quiet::{Inflow, Quiet};
use crate::silence::SilenceTimer;
use crate::tasks::Owned;
use crate::tls::{Shown, Socket};

/// When `accept` fails it is for want of file descriptors or memory, which others must give back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one connection holds of a request that was not read on, and as much of an answer that its client does not take; and the most
/// that one read brings. A head must fit.
const BUFFER_BYTES: usize = 128 * 1024;

/// Who has connected and not asked anything yet may do so until then, though the listener is closed: what it sends may be on its way.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// The two ways in which a connection is told to end.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    /// Take nothing new; finish what has begun. Implied by `abort`.
    pub stop: CancellationToken,
    /// Drop everything.
    pub abort: CancellationToken,
}

impl Default for Signals {
    fn default() -> Self {
        let abort = CancellationToken::new();
        Self { stop: abort.child_token(), abort }
    }
}

/// Accepts connections and serves them until told to stop.
pub(crate) struct Server {
    lanes: Vec<(Lane, Front)>,
    how: Arc<Serving>,
    seats: Arc<Semaphore>,
}

/// How connections are served.
pub(crate) struct Serving {
    builder: Builder<Owned>,
    tasks: Owned,
    shown: Arc<Shown>,
    /// Who has connected asks within this, or goes. hyper sets no limit before it knows which HTTP is spoken.
    silence: Duration,
    signals: Signals,
}

impl Server {
    /// A server with a front on each of its lanes, of which there is at least one, and so many connections at once.
    pub(crate) fn new(lanes: Vec<(Lane, Front)>, how: Serving, max_connections: usize) -> Self {
        Self { lanes, how: Arc::new(how), seats: Arc::new(Semaphore::new(max_connections)) }
    }

    /// Runs until `stop`, then closes the listener; connections go on under their own signals.
    pub(crate) async fn run(self, listener: TcpListener) {
        let stop = self.how.signals.stop.clone();
        // Neither waiting for a seat nor `accept` loses a connection when dropped.
        stop.run_until_cancelled(self.accept_all(&listener)).await;
        self.accept_rest(listener);
    }

    /// Serves those who have connected and were not accepted yet: closing the listener would reset them, and where another gateway
    /// listens on the same port nobody would have had to fail.
    fn accept_rest(&self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        while let (Ok(seat), Ok((stream, _))) =
            (Arc::clone(&self.seats).try_acquire_owned(), listener.accept())
        {
            if stream.set_nonblocking(true).is_ok() {
                self.begin(stream, seat);
            }
        }
    }

    async fn accept_all(&self, listener: &TcpListener) {
        loop {
            let Ok(seat) = Arc::clone(&self.seats).acquire_owned().await else { return };
            match listener.accept().await {
                // A socket belongs to the runtime that opened it until it is taken from it; should that fail, the client sees it closed.
                Ok((stream, _)) => _ = stream.into_std().map(|stream| self.begin(stream, seat)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection on the lane that has the fewest.
    fn begin(&self, stream: std::net::TcpStream, seat: OwnedSemaphorePermit) {
        let fewest = self.lanes.iter().min_by_key(|(lane, _)| lane.connections());
        let Some((lane, front)) = fewest else { return };
        let (how, front) = (Arc::clone(&self.how), front.clone());
        let seats = (seat, lane.seat());
        let connection = async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                how.serve(stream, front).await;
            }
            drop(seats);
        };
        self.how.tasks.0.spawn_on(connection, lane.runtime());
    }
}

impl Serving {
    /// As the settings have it; connections are tasks of `tasks`, and shown what `shown` says when they begin.
    pub(crate) fn new(config: &GatewayConfig, shown: Arc<Shown>, tasks: Owned, signals: Signals) -> Self {
        let silence = config.client_idle_timeout_ms.duration();
        let mut builder = Builder::new(tasks.clone());
        // hyper counts from the end of the last request, so this bounds idle connections as well as slow heads.
        // The timer is each connection's own.
        builder.http1().header_read_timeout(silence).max_buf_size(BUFFER_BYTES);
        // HTTP/2 has no such limit: clients are asked now and then whether they are still there.
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(silence);
        Self { builder, tasks, shown, silence, signals }
    }

    /// Serves one connection to its end.
    async fn serve(&self, stream: TcpStream, front: Front) {
        // Without it, Nagle holds a stream's small chunks back until the last one is acknowledged. Failing costs only time.
        let _ = stream.set_nodelay(true);
        let opened = timeout(self.silence, Socket::open(stream, self.shown.now()));
        // Who cannot shake hands was told by it.
        let Some(Ok(Ok(stream))) = self.signals.abort.run_until_cancelled(opened).await else { return };
        let (asked, refused) = (AtomicBool::new(false), Refused::default());
        let service = service_fn(|request: http::Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let (front, refused) = (front.clone(), refused.clone());
            // On the heap, or hyper would keep room for it in every idle connection; and made there, since moving it costs kilobytes.
            let room = Box::new_uninit();
            let answer = Box::write(room, async move {
                let has_body = !request.body().is_end_stream();
                let answer = front.answer(Inflow::of(request)).await;
                refused.set(has_body && answer.body().is_ours());
                Ok::<_, Infallible>(answer)
            });
            Box::into_pin(answer)
        });
        let stream = TokioIo::new(Lingering::new(stream, refused.clone()));
        let mut builder = self.builder.clone();
        builder.http1().timer(SilenceTimer::default());
        let connection = std::pin::pin!(builder.serve_connection(stream, service));
        self.see_to_its_end(Quiet::new(connection), &asked).await;
    }

    /// Drives a connection until it has ended, is told to or says nothing from the start. `asked` tells whether it has asked anything.
    async fn see_to_its_end<C: GracefulConnection>(&self, mut connection: Quiet<'_, C>, asked: &AtomicBool) {
        let silent = || !asked.load(Ordering::Relaxed);
        // Errors are the client's leaving or breaking the protocol: nobody is left to be told.
        let mut first = std::pin::pin!(sleep(self.silence));
        // Not looked at again once it has asked.
        let mute = poll_fn(|cx| if silent() { first.as_mut().poll(cx) } else { Poll::Pending });
        tokio::select! {
            biased;
            _ = &mut connection => return,
            () = told(&self.signals.stop) => {}
            () = mute => return,
        }
        let in_order = async {
            // hyper would close a connection at once on which nothing has come. A first answer says `connection: close` by itself.
            if silent() && timeout(FIRST_REQUEST, &mut connection).await.is_ok() {
                return;
            }
            connection.graceful_shutdown();
            let _ = connection.await;
        };
        self.signals.abort.run_until_cancelled(in_order).await;
    }
}

/// Ready when `signal` is given. Cheaper than waiting for it where the same task looks often: it is entered in the list of those who
/// wait once and not each time.
async fn told(signal: &CancellationToken) {
    let mut given = std::pin::pin!(signal.cancelled());
    let mut waits = false;
    poll_fn(|cx| {
        if waits && !signal.is_cancelled() {
            return Poll::Pending;
        }
        waits = true;
        given.as_mut().poll(cx)
    })
    .await;
}
