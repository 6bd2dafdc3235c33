//! Sockets that listen already when we start, as systemd hands them over (`LISTEN_FDS`): the first for clients, the second for the admin API.
//!
//! Such a socket outlives the process, so that a restart closes nothing: who connects in between waits in its queue.

use std::net::SocketAddr;

use anyhow::Context;
use listenfd::ListenFd;
use warmroute_gateway::{GatewayConfig, Sockets};

const HINT: &str = "a socket in LISTEN_FDS is not one that can be used; hint: hand over TCP sockets that listen, first that for clients, then \
                    that for the admin API";

/// Where the sockets listen that were handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    clients: Option<SocketAddr>,
    operators: Option<SocketAddr>,
}

/// Takes them, if there are any.
pub(crate) fn inherited() -> anyhow::Result<(Sockets, Addresses)> {
    let mut handed = ListenFd::from_env();
    anyhow::ensure!(
        handed.len() <= 2,
        "{} sockets in LISTEN_FDS are more than can be used; hint: hand over one for clients, and one for the admin API if it listens",
        handed.len()
    );
    let mut take = |place| {
        if place < handed.len() { handed.take_tcp_listener(place).context(HINT) } else { Ok(None) }
    };
    let sockets = Sockets { clients: take(0)?, operators: take(1)? };
    let address = |socket: &Option<std::net::TcpListener>| {
        socket.as_ref().map(std::net::TcpListener::local_addr).transpose().context(HINT)
    };
    let addresses =
        Addresses { clients: address(&sockets.clients)?, operators: address(&sockets.operators)? };
    Ok((sockets, addresses))
}

impl Addresses {
    /// The settings with these in the place of what they say themselves, so that they are checked as they are.
    pub(crate) fn put_into(self, mut config: GatewayConfig) -> GatewayConfig {
        config.listen = self.clients.unwrap_or(config.listen);
        config.admin_listen.0 = self.operators.or(config.admin_listen.0);
        config
    }
}
