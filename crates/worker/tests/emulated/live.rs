//! Somebody who hears KV events as they are published.

use tokio::time::timeout;
use warmroute_worker::publish::KvEndpoints;
use zeromq::{Socket, SocketRecv, SubSocket};

use crate::reader::{Messages, PATIENCE, number};

/// What is published from now on.
pub(crate) async fn subscribe(endpoints: &KvEndpoints, topic: &str) -> SubSocket {
    let mut socket = SubSocket::new();
    socket.subscribe(topic).await.unwrap();
    socket.connect(&endpoints.events).await.unwrap();
    socket
}

/// Live messages up to this number.
pub(crate) async fn hear(socket: &mut SubSocket, last: u64, topic: &str) -> Messages {
    let mut heard = Messages::new();
    while heard.last().is_none_or(|(number, _)| *number < last) {
        let message = timeout(PATIENCE, socket.recv()).await.unwrap().unwrap();
        assert_eq!((message.len(), message.get(0).unwrap().as_ref()), (3, topic.as_bytes()));
        heard.push((number(&message, 1), message.get(2).unwrap().clone()));
    }
    heard
}
