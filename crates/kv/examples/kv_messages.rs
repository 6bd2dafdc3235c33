//! Prints messages as our workers publish them, one a line: the form and the bytes in hexadecimal.
//!
//! `scripts/check_kv_events.py` reads them with vLLM's own structures:
//! `cargo run -p warmroute-kv --example kv_messages | python3 scripts/check_kv_events.py`

use warmroute_kv::Tokens;
use warmroute_kv::wire::{
    AttentionKind, EngineEvent, EngineHash, ExtraKeys, Form, Home, Lora, Removed, Stored, Tier, encode,
};

fn main() {
    let tokens: Vec<u32> = (0..32).map(|place| place * place * place * 997).collect();
    let plain = Stored {
        blocks: &[EngineHash(u64::MAX), EngineHash(7)],
        parent: Some(EngineHash(300)),
        tokens: &tokens,
        block_tokens: Tokens(16),
        home: Home::default(),
        attention: None,
        lora: Lora::default(),
        cache_salt: None,
        extra_keys: ExtraKeys::default(),
    };
    let host = Home { tier: Tier::Host, group: Some(1) };
    let adapted = Stored {
        parent: None,
        home: host,
        attention: Some(AttentionKind::Full),
        lora: Lora { id: Some(3), name: Some("an-adapter-whose-name-is-longer-than-31-bytes") },
        ..plain
    };
    let events = [
        EngineEvent::Stored(plain),
        EngineEvent::Stored(adapted),
        EngineEvent::Removed(Removed { blocks: &[EngineHash(7)], home: Home::default() }),
        EngineEvent::Removed(Removed { blocks: &[EngineHash(7), EngineHash(70_000)], home: host }),
        EngineEvent::Cleared,
    ];
    for (name, form, rank) in [("array", Form::Array, Some(2)), ("map", Form::Map, None)] {
        let mut message = Vec::new();
        encode(form, 1.5, &events, rank, &mut message);
        let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("{name} {hex}");
    }
}
