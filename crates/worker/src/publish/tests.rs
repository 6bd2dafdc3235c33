//! Words and addresses, without sockets.

use std::borrow::Cow;

use warmroute_kv::wire::{Batch, Buffers, EngineEvent, EngineHash};
use warmroute_kv::{BlockHash, KvEvent, TokenId};

use super::*;

/// Blocks of two tokens, which spell their names; one is there.
struct Engine;

impl Told for Engine {
    fn tokens(&self, block: BlockHash) -> Cow<'_, [TokenId]> {
        vec![block.0 as TokenId, 0].into()
    }

    fn holds(&self, name: BlockHash) -> bool {
        name == BlockHash(1)
    }

    fn salt(&self, root: BlockHash) -> Option<&str> {
        (root == BlockHash(99)).then_some("salt")
    }
}

#[test]
fn the_first_block_of_a_prompt_has_no_parent_and_the_salt_with_it() {
    let stored = |parent, blocks: &[u64]| KvEvent::Stored {
        parent: BlockHash(parent),
        blocks: blocks.iter().map(|block| BlockHash(*block)).collect(),
    };
    let events = vec![stored(1, &[2, 3]), stored(99, &[4, 5]), stored(98, &[6])];
    for form in [Form::Array, Form::Map] {
        let message = wording::message(form, Tokens(2), &events, &Engine);
        let batch = Batch::read(&message).unwrap();
        let (mut words, mut buffers, mut read) = (batch.events(), Buffers::default(), Vec::new());
        while let Some(event) = words.next(&mut buffers) {
            let EngineEvent::Stored(stored) = event.unwrap() else { panic!("nothing else was told") };
            let keys = stored.extra_keys.blocks();
            let keys = keys.map(|block| block.keys().filter_map(|(_, text)| text).collect::<String>());
            read.push((stored.parent, stored.tokens.to_vec(), keys.collect::<Vec<_>>()));
        }
        let expected = [
            (Some(EngineHash(1)), vec![2, 0, 3, 0], vec![]),
            (None, vec![4, 0, 5, 0], vec!["salt".to_owned(), String::new()]),
            (None, vec![6, 0], vec![]),
        ];
        assert_eq!(read, expected, "{form:?}");
    }
}

#[test]
fn addresses_are_this_machines() {
    let address = |text: &str| text.parse::<KvAddress>().map(|address| address.to_string());
    assert_eq!(address("tcp://*:5557").as_deref(), Ok("tcp://0.0.0.0:5557"));
    assert_eq!(address("tcp://127.0.0.1:0").as_deref(), Ok("tcp://127.0.0.1:0"));
    for wrong in ["", "5557", "tcp://:5557", "tcp://here", "ipc:///tmp/x", "tcp://here:99999"] {
        assert!(address(wrong).is_err(), "{wrong}");
    }
}
