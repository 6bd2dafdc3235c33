//! The one HTTP client through which everything is said to workers: requests, probes and descriptions.
//!
//! One pool for all of them, so a probe also tells whether the connections that requests use still work. The client retries
//! by itself only what it had not begun to send; every other retry is the front's decision, which knows about other workers.
//! Dropping the future or the body of an answer closes the connection: that is how a worker learns that a client has gone.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioTimer;

use crate::config::GatewayConfig;
use crate::tasks::Owned;

/// Requests go out with a body that is one piece of memory, shared with every retry.
pub(crate) type Upstream = Client<HttpConnector, Full<Bytes>>;

/// SYN and FIN need not be told apart from a slow worker by the kernel's two-hour default: probe idle connections sooner.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// The client as the settings want it; its connections are driven by `tasks`.
pub(crate) fn client(config: &GatewayConfig, tasks: Owned) -> Upstream {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_keepalive(Some(TCP_KEEPALIVE));
    connector.set_connect_timeout(Some(config.connect_timeout_ms.duration()));
    Client::builder(tasks)
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(config.pool_idle_timeout_ms.duration())
        .build(connector)
}

/// Whether an attempt failed because nothing answers at the worker's address. Other failures to connect may be ours, such as
/// having no file descriptor left, and must not be held against the worker.
pub(crate) fn nobody_there(error: &legacy::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut};
    let kind = root_cause(error).downcast_ref::<io::Error>().map(io::Error::kind);
    error.is_connect()
        && matches!(
            kind,
            Some(ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable | TimedOut)
        )
}

/// The innermost error, which is the one that says something: "connection refused" and not "client error".
pub(crate) fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}
