//! What lies between an engine that publishes KV events and the gateway: a wire that loses, garbles and falls silent when it is told to.

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use warmroute_routing::Chance;
use zeromq::{PubSocket, Socket, SocketRecv, SocketSend, SubSocket, ZmqMessage};

/// What goes wrong on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Harm {
    /// The share of messages that are lost.
    pub(crate) loss: f64,
    /// The share of messages before which comes something that is none.
    pub(crate) garbage: f64,
}

/// A wire from one engine's publisher. Dropping it cuts it on both sides.
pub(crate) struct Relay {
    /// Where the gateway subscribes.
    pub(crate) endpoint: String,
    harm: watch::Sender<Harm>,
    _task: JoinSet<()>,
}

impl Relay {
    /// From the publisher at `engine` to a socket at `address`, which may have port 0, if that is free.
    pub(crate) async fn start(engine: &str, address: &str, seed: u64) -> Option<Self> {
        let (mut from, mut to) = (SubSocket::new(), PubSocket::new());
        let endpoint = to.bind(address).await.ok()?.to_string();
        from.subscribe("").await.unwrap();
        from.connect(engine).await.unwrap();
        let (harm, told) = watch::channel(Harm::default());
        let mut task = JoinSet::new();
        task.spawn(carry(from, to, told, Chance::new(seed)));
        Some(Self { endpoint, harm, _task: task })
    }

    pub(crate) fn harm(&self, harm: Harm) {
        self.harm.send_replace(harm);
    }
}

async fn carry(mut from: SubSocket, mut to: PubSocket, told: watch::Receiver<Harm>, mut chance: Chance) {
    while let Ok(message) = from.recv().await {
        let harm = *told.borrow();
        if chance.unit() < harm.garbage {
            let garbage = garbled(&message, &mut chance);
            to.send(garbage).await.unwrap();
        }
        if chance.unit() >= harm.loss {
            to.send(message).await.unwrap();
        }
    }
}

/// A message of another number of frames, or the same with a batch that nobody can read.
fn garbled(message: &ZmqMessage, chance: &mut Chance) -> ZmqMessage {
    let noise: Vec<u8> = (0..chance.below(64)).map(|_| chance.draw() as u8).collect();
    let mut garbled = ZmqMessage::from(Bytes::from(noise));
    for frame in message.iter().take(chance.below(2)) {
        garbled.push_back(frame.clone());
    }
    garbled
}
