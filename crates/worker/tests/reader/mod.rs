//! Somebody who reads a worker's KV events from its sockets, and knows nothing else of it.

use std::collections::HashSet;
use std::time::Duration;

use axum::body::Bytes;
use tokio::time::timeout;
use warmroute_kv::wire::{Batch, Buffers, EngineEvent, Losses, Naming, Translator};
use warmroute_kv::{BlockHash, KvEvent, KvEvents, Tokens};
use warmroute_worker::publish::KvEndpoints;
use zeromq::{DealerSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

/// Nothing here takes longer, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Messages by number.
pub(crate) type Messages = Vec<(u64, Bytes)>;

/// Everything that is kept from `from` on.
pub(crate) async fn replay(endpoints: &KvEndpoints, from: u64, topic: &str) -> Messages {
    let mut socket = DealerSocket::new();
    socket.connect(endpoints.replay.as_ref().unwrap().as_str()).await.unwrap();
    let mut request = ZmqMessage::from(Bytes::new());
    request.push_back(Bytes::copy_from_slice(&from.to_be_bytes()));
    socket.send(request).await.unwrap();
    let mut replayed = Messages::new();
    loop {
        let reply = timeout(PATIENCE, socket.recv()).await.unwrap().unwrap();
        assert_eq!((reply.len(), reply.get(1).unwrap().as_ref()), (4, topic.as_bytes()));
        match number(&reply, 2) {
            u64::MAX => return replayed,
            number => replayed.push((number, reply.get(3).unwrap().clone())),
        }
    }
}

pub(crate) fn number(message: &ZmqMessage, place: usize) -> u64 {
    u64::from_be_bytes(message.get(place).unwrap().as_ref().try_into().unwrap())
}

/// What messages say that the worker holds.
pub(crate) struct Believed {
    /// By the worker's own names.
    pub(crate) own: HashSet<BlockHash>,
    /// By the names that a router gives them by their tokens.
    pub(crate) names: HashSet<BlockHash>,
    translator: Translator,
}

impl Believed {
    pub(crate) fn of(model: &str, messages: &Messages) -> Self {
        let translator = Translator::new(Naming::new(model, Tokens(16)), 1 << 20);
        let mut believed = Self { own: HashSet::new(), names: HashSet::new(), translator };
        let (mut buffers, mut changes) = (Buffers::default(), KvEvents::new());
        for (place, (number, payload)) in messages.iter().enumerate() {
            assert_eq!(*number, place as u64, "numbered from 0, without gaps");
            let batch = Batch::read(payload).unwrap();
            let mut events = batch.events();
            while let Some(event) = events.next(&mut buffers) {
                let event = event.unwrap();
                believed.take_in(&event);
                believed.translator.apply(0, &event, &mut changes);
            }
        }
        for change in changes {
            match change {
                KvEvent::Stored { blocks, .. } => believed.names.extend(blocks),
                KvEvent::Removed { blocks } => blocks.iter().for_each(|name| _ = believed.names.remove(name)),
                KvEvent::Cleared => believed.names.clear(),
            }
        }
        assert_eq!(believed.translator.losses(), Losses::default(), "all of it could be used");
        assert_eq!(believed.names.len(), believed.own.len(), "no two blocks have one name");
        believed
    }

    fn take_in(&mut self, event: &EngineEvent<'_>) {
        match event {
            EngineEvent::Stored(stored) => {
                if let Some(parent) = stored.parent {
                    assert!(self.own.contains(&BlockHash(parent.0)), "a parent is there before its child");
                }
                for block in stored.blocks {
                    assert!(self.own.insert(BlockHash(block.0)), "it was not there");
                }
            }
            EngineEvent::Removed(removed) => {
                for block in removed.blocks {
                    assert!(self.own.remove(&BlockHash(block.0)), "it was there");
                }
            }
            EngineEvent::Cleared => self.own.clear(),
        }
    }

    /// How many leading tokens of a prompt of these tokens can be taken from the cache: its last token is always computed.
    pub(crate) fn reusable(&self, root: BlockHash, tokens: &[u32]) -> u64 {
        let chain = warmroute_kv::token_chain(root, &tokens[..tokens.len().saturating_sub(1)], 16);
        16 * chain.take_while(|name| self.names.contains(name)).count() as u64
    }
}
