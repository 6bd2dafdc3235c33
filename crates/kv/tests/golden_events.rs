//! Every batch that eleven releases of vLLM and SGLang encoded decodes to what its publisher meant.
//!
//! `golden/kv_events.jsonl` has the bytes, and beside them what the engine's own library reads from them.

use serde_json::Value;
use warmroute_kv::TokenId;
use warmroute_kv::wire::{Batch, Buffers, EngineEvent, EngineHash, Form, Home, Tier, encode};

const GOLDEN: &str = include_str!("golden/kv_events.jsonl");
/// The fields of list-shaped events in their order.
const STORED: [&str; 9] = [
    "block_hashes",
    "parent_block_hash",
    "token_ids",
    "block_size",
    "lora_id",
    "medium",
    "lora_name",
    "extra_keys",
    "group_idx",
];
const REMOVED: [&str; 3] = ["block_hashes", "medium", "group_idx"];

struct Golden {
    name: String,
    bytes: Vec<u8>,
    decoded: Value,
}

fn golden() -> Vec<Golden> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let hex = line["hex"].as_str().expect("it has bytes");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("in hexadecimal");
        Golden {
            name: ["engine", "event"].map(|key| line[key].as_str().expect("a name")).join(" "),
            bytes: (0..hex.len()).step_by(2).map(byte).collect(),
            decoded: line["decoded"].clone(),
        }
    };
    GOLDEN.lines().map(line).collect()
}

/// A field of a decoded event, whichever form it has.
fn field<'v>(event: &'v Value, order: &[&str], name: &str) -> &'v Value {
    match event {
        Value::Array(values) => {
            let place = order.iter().position(|field| *field == name);
            place.and_then(|place| values.get(place + 1)).unwrap_or(&Value::Null)
        }
        named => &named[name],
    }
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().map(|number| u32::try_from(number).expect("a small number"))
}

fn hashes(value: &Value) -> Vec<EngineHash> {
    value.as_array().expect("a list").iter().map(|hash| EngineHash(hash.as_u64().expect("a hash"))).collect()
}

fn home(event: &Value, order: &[&str]) -> Home {
    let tier = Tier::of_medium(field(event, order, "medium").as_str());
    Home { tier, group: number(field(event, order, "group_idx")) }
}

fn assert_means(read: &EngineEvent<'_>, meant: &Value, name: &str) {
    let tag = meant.get(0).or_else(|| meant.get("type")).and_then(Value::as_str).expect("a tag");
    match read {
        EngineEvent::Stored(stored) => {
            assert_eq!(tag, "BlockStored", "{name}");
            let of = |name| field(meant, &STORED, name);
            assert_eq!(stored.blocks, hashes(of("block_hashes")), "{name}");
            assert_eq!(stored.parent.map(|hash| hash.0), of("parent_block_hash").as_u64(), "{name}");
            let tokens = of("token_ids").as_array().expect("a list").iter();
            let tokens: Vec<TokenId> = tokens.map(|token| number(token).expect("a token")).collect();
            assert_eq!(stored.tokens, tokens, "{name}");
            assert_eq!(Some(stored.block_tokens.0), number(of("block_size")), "{name}");
            assert_eq!(stored.lora.id, number(of("lora_id")), "{name}");
            assert_eq!(stored.lora.name, of("lora_name").as_str(), "{name}");
            assert_eq!(stored.cache_salt, meant.get("cache_salt").and_then(Value::as_str), "{name}");
            assert_eq!(stored.home, home(meant, &STORED), "{name}");
            assert!(stored.extra_keys.is_empty(), "{name}: every block has nil");
        }
        EngineEvent::Removed(removed) => {
            assert_eq!(tag, "BlockRemoved", "{name}");
            assert_eq!(removed.blocks, hashes(field(meant, &REMOVED, "block_hashes")), "{name}");
            assert_eq!(removed.home, home(meant, &REMOVED), "{name}");
        }
        EngineEvent::Cleared => assert_eq!(tag, "AllBlocksCleared", "{name}"),
    }
}

#[test]
fn every_batch_of_every_release_decodes_to_what_was_meant() {
    let golden = golden();
    assert_eq!(golden.len(), 56);
    let mut buffers = Buffers::default();
    for Golden { name, bytes, decoded } in &golden {
        let batch = Batch::read(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Some(batch.published_s), decoded[0].as_f64(), "{name}");
        assert_eq!(batch.data_parallel_rank, number(&decoded[2]), "{name}");
        let meant = decoded[1].as_array().expect("a list of events");
        assert_eq!(batch.len(), meant.len(), "{name}");
        let mut events = batch.events();
        for meant in meant {
            let read = events.next(&mut buffers).expect("as many as were meant");
            assert_means(&read.unwrap_or_else(|error| panic!("{name}: {error}")), meant, name);
        }
        assert!(events.next(&mut buffers).is_none(), "{name}");
    }
}

#[test]
fn a_batch_cut_anywhere_is_an_error_that_names_its_place() {
    for Golden { name, bytes, .. } in golden() {
        for end in 0..bytes.len() {
            let error = Batch::read(&bytes[..end]).expect_err(&name);
            assert!(error.at <= end, "{name} cut at {end}: {error}");
        }
    }
}

/// What vLLM 0.28 and the list-shaped 0.12 publish, byte for byte, but for what we do not send.
#[test]
fn what_is_encoded_is_what_vllm_encodes() {
    let mut buffers = Buffers::default();
    let bytes_of =
        |name: &str| golden().into_iter().find(|golden| golden.name == name).expect("it is there").bytes;
    for (form, names) in [
        (Form::Map, ["vllm 0.28.0 removed", "vllm 0.28.0 cleared", "vllm 0.28.0 cleared,dp_rank unset"]),
        (Form::Array, ["vllm 0.23.0 removed", "vllm 0.16.0 stored", "vllm 0.23.0 cleared"]),
    ] {
        for name in names {
            let bytes = bytes_of(name);
            let batch = Batch::read(&bytes).expect("it decodes");
            let event = batch.events().next(&mut buffers).expect("one event").expect("that decodes");
            let mut encoded = Vec::new();
            encode(form, batch.published_s, &[event], batch.data_parallel_rank, &mut encoded);
            assert_eq!(encoded, bytes, "{name}");
        }
    }
}
