//! The sockets that a gateway listens on: those it was given, or its own.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use crate::GatewayError;

/// Connections that wait to be accepted, as tokio has it for listeners that are alone.
const LISTEN_QUEUE: u32 = 1024;

/// Sockets that listen already, opened by whoever started us; the settings have their addresses.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For clients, where `listen` says.
    pub clients: Option<std::net::TcpListener>,
    /// For the admin API, where `admin_listen` says.
    pub operators: Option<std::net::TcpListener>,
}

/// A socket that listens, and where.
pub(crate) struct Listener {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Listener {
    pub(crate) async fn bind(address: SocketAddr, flag: &'static str) -> Result<Self, GatewayError> {
        Self::open(None, address, flag, false).await
    }

    /// On the socket that is given, or on one of our own, `shared` with others or not.
    pub(crate) async fn open(
        given: Option<std::net::TcpListener>,
        address: SocketAddr,
        flag: &'static str,
        shared: bool,
    ) -> Result<Self, GatewayError> {
        let refused = |source| GatewayError::Listen { address, flag, source };
        let listener = match given {
            Some(given) => given.set_nonblocking(true).and_then(|()| TcpListener::from_std(given)),
            None if shared => listen_beside_others(address),
            None => TcpListener::bind(address).await,
        };
        let listener = listener.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }
}

/// Listens where others may listen too, who must have asked for the same. The system spreads new connections over all of them.
fn listen_beside_others(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_QUEUE)
}
