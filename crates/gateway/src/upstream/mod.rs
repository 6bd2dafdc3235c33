//! The one client through which everything is said to workers: requests, probes and descriptions.
//!
//! Our own, because of what a proxy can leave out: whoever asks drives the connection itself, so nothing is handed from task to task;
//! head and body leave in one system call; an answer's pieces are the very memory that was read. `head` writes and reads heads and
//! says where a body ends, `chunked` and `body` read bodies, `connection` moves bytes (`secure` over TLS), `pool` keeps connections between
//! requests. Workers that want HTTP/2 are spoken to by hyper's client, on `shared` connections.
//!
//! Every lane has a client of its own, and the health checks have one. Nothing is retried here; every retry is the front's decision,
//! which knows about other workers. Dropping the future or the body of an answer closes the connection: that is how a worker learns
//! that a client has gone.

mod body;
mod chunked;
mod connection;
mod departure;
#[cfg(fuzzing)]
pub mod fuzzed;
mod head;
mod incoming;
mod pool;
mod secure;
mod shared;
mod streamed;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Response};
use rustls::ClientConfig;
use tokio::time::Instant;

use self::connection::Connection;
pub(crate) use self::departure::{Departure, Departures};
pub(crate) use self::incoming::Incoming;
use self::pool::Pool;
use self::shared::Shared;
pub(crate) use self::streamed::Interrupted;
use crate::config::{GatewayConfig, Link, WorkerUrl};
use crate::tls::{self, BadTls};

/// A request on its way to a worker. The body is one piece of memory, shared with every retry.
pub(crate) struct Outbound<'a> {
    pub method: Method,
    /// The worker.
    pub to: &'a WorkerUrl,
    pub path: &'a PathAndQuery,
    /// Without those that concern one connection, `host` and `content-length`: these are written anew.
    pub headers: &'a HeaderMap,
    pub body: &'a Bytes,
    /// Not on a connection that was used before.
    pub fresh: bool,
    /// Its place among those that leave for this worker, if that matters.
    pub departure: Option<&'a Departure>,
}

/// Why a worker gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// No connection was to be had.
    #[error("{0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("{0}")]
    Broken(io::Error),
    /// What came is no HTTP/1.1.
    #[error("it does not speak HTTP/1.1: {0}")]
    Malformed(&'static str),
}

impl UpstreamError {
    /// Whether an attempt failed because nothing answers at the worker's address. Other failures to connect may be ours, such as
    /// having no file descriptor left, and must not be held against the worker.
    pub(crate) fn nobody_there(&self) -> bool {
        use io::ErrorKind::{
            ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
        };
        let Self::Connect(error) = self else { return false };
        matches!(
            error.kind(),
            ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable | TimedOut
        )
    }

    fn closed() -> Self {
        Self::Broken(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "connection closed before message completed",
        ))
    }
}

/// The client; its clones share their connections.
#[derive(Clone)]
pub(crate) struct Upstream {
    pool: Arc<Pool>,
    shared: Arc<Shared>,
    believed: Arc<ClientConfig>,
    connect_timeout: Duration,
}

impl Upstream {
    /// The client as the settings want it.
    ///
    /// # Errors
    /// If there are certificates to be believed and they cannot be read.
    pub(crate) fn new(config: &GatewayConfig) -> Result<Self, BadTls> {
        let keep = config.pool_idle_timeout_ms.duration();
        Ok(Self {
            pool: Arc::new(Pool::new(keep)),
            shared: Arc::new(Shared::new(keep)),
            believed: tls::for_workers(config.tls_ca.0.as_ref())?,
            connect_timeout: config.connect_timeout_ms.duration(),
        })
    }

    /// Another with connections of its own.
    pub(crate) fn beside(&self, config: &GatewayConfig) -> Self {
        let keep = config.pool_idle_timeout_ms.duration();
        Self { pool: Arc::new(Pool::new(keep)), shared: Arc::new(Shared::new(keep)), ..self.clone() }
    }

    /// Sends a request; returns when the head of the answer is there. Sets no limit to the time that takes.
    pub(crate) async fn request(&self, outbound: &Outbound<'_>) -> Result<Response<Incoming>, UpstreamError> {
        if outbound.to.link() == Link::H2c {
            // Apart in memory, as is what opens a connection: most requests need neither, and all would carry room for them.
            let response = Box::pin(self.shared.request(outbound, self.connect_timeout)).await?;
            return Ok(response.map(Incoming::Shared));
        }
        let now = Instant::now();
        let idle = self.pool.of(outbound.to, now);
        let used = if outbound.fresh { None } else { idle.take(now) };
        let mut connection = match used {
            Some(connection) => connection,
            None => Box::pin(self.connect(outbound.to)).await?,
        };
        if let Some(departure) = outbound.departure {
            departure.come().await;
        }
        let sent = connection.send(outbound).await?;
        if let Some(departure) = outbound.departure {
            departure.leave();
        }
        let (parts, mut ending) = connection.head(&outbound.method).await?;
        ending.reusable &= sent.whole;
        let body = body::Incoming::new(connection, ending, idle);
        Ok(Response::from_parts(parts, Incoming::Alone(body)))
    }

    /// Asks for `path` with these headers and nothing else.
    pub(crate) async fn get(
        &self,
        to: &WorkerUrl,
        path: &'static str,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let (path, body) = (PathAndQuery::from_static(path), Bytes::new());
        let outbound = Outbound {
            method: Method::GET,
            to,
            path: &path,
            headers,
            body: &body,
            fresh: false,
            departure: None,
        };
        self.request(&outbound).await
    }

    async fn connect(&self, to: &WorkerUrl) -> Result<Connection, UpstreamError> {
        let opened = connection::in_time(self.connect_timeout, Connection::open(to, &self.believed)).await;
        opened.map_err(UpstreamError::Connect)
    }
}
