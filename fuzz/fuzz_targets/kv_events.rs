//! KV events: no message makes codec or translator panic, what is decoded is encoded and decoded again to the same, and the translator
//! never tells of a block twice.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use warmroute_kv::wire::{Batch, Buffers, EngineEvent, Form, Naming, Translator, encode};
use warmroute_kv::{KvEvent, Tokens};

fuzz_target!(|messages: Vec<Vec<u8>>| {
    let mut engine = Translator::new(Naming::new("m", Tokens(4)), 64);
    let (mut buffers, mut again, mut held) = (Buffers::default(), Buffers::default(), HashSet::new());
    for message in &messages {
        let Ok(batch) = Batch::read(message) else { continue };
        let mut events = batch.events();
        while let Some(event) = events.next(&mut buffers) {
            let Ok(event) = event else { continue };
            round_trip(event, &mut again);
            let mut told = Vec::new();
            engine.apply(batch.data_parallel_rank.unwrap_or_default(), &event, &mut told);
            told.iter().for_each(|event| follow(event, &mut held));
            assert_eq!(engine.blocks().get(), held.len());
        }
    }
});

fn round_trip(event: EngineEvent<'_>, buffers: &mut Buffers) {
    let mut bytes = Vec::new();
    encode(Form::Map, 0.0, &[event], None, &mut bytes);
    let batch = Batch::read(&bytes).expect("what was encoded is readable");
    assert_eq!(batch.events().next(buffers).expect("one event"), Ok(event));
}

fn follow(event: &KvEvent, held: &mut HashSet<u64>) {
    match event {
        KvEvent::Stored { blocks, .. } => blocks.iter().for_each(|block| assert!(held.insert(block.0))),
        KvEvent::Removed { blocks } => blocks.iter().for_each(|block| assert!(held.remove(&block.0))),
        KvEvent::Cleared => held.clear(),
    }
}
