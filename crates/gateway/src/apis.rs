//! Listeners of APIs that few ask: the admin's, with TLS or without, and the indexer's. On the main runtime, so that they answer while the
//! lanes are busy.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::server::Signals;
use crate::tasks::Owned;
use crate::tls::{Shown, Socket};

/// An operator, a script, a scraper or two, and up to [`MOST_PEERS`](crate::config::MOST_PEERS) other gateways; the next one waits in the
/// listen queue.
const MOST_CONNECTIONS: usize = 64;
/// A connection may be idle or in the middle of a head for so long.
const IDLE: Duration = Duration::from_secs(60);
/// When `accept` fails it is for want of file descriptors or memory, which others must give back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where an API is asked.
pub(crate) struct Door {
    pub listener: TcpListener,
    /// What a connection is shown.
    pub shown: Arc<Shown>,
}

impl Door {
    /// Without TLS.
    pub(crate) fn plain(listener: TcpListener) -> Self {
        Self { listener, shown: Arc::default() }
    }
}

/// Serves an API until told to stop; its connections are tasks of `tasks`.
pub(crate) async fn serve(door: Door, routes: axum::Router, tasks: TaskTracker, signals: Signals) {
    let service = TowerToHyperService::new(routes);
    let seats = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let accept_all = async {
        while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
            let Ok((stream, _)) = door.listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // A peer is told little at a time, and soon.
            let _ = stream.set_nodelay(true);
            let opened = timeout(IDLE, Socket::open(stream, door.shown.now()));
            let (service, owned, signals) = (service.clone(), Owned(tasks.clone()), signals.clone());
            tasks.spawn(async move {
                // Who cannot shake hands was told by it.
                if let Some(Ok(Ok(socket))) = signals.stop.run_until_cancelled(opened).await {
                    connection(socket, service, owned, &signals).await;
                }
                drop(seat);
            });
        }
    };
    signals.stop.run_until_cancelled(accept_all).await;
}

async fn connection(
    socket: Socket,
    service: TowerToHyperService<axum::Router>,
    tasks: Owned,
    signals: &Signals,
) {
    let mut builder = Builder::new(tasks);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = signals.stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = signals.abort.cancelled() => {}
    }
}
