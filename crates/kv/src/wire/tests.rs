//! Dialects that exist, that may come, and that are broken.

use proptest::prelude::*;

use super::*;
use crate::units::{TokenId, Tokens};

/// A message of these events in their bytes, as a list of two without a rank.
fn batch_of(events: &[&[u8]]) -> Vec<u8> {
    let mut message = vec![0x92, 0x01, 0x90 | u8::try_from(events.len()).expect("few events")];
    events.iter().for_each(|event| message.extend_from_slice(event));
    message
}

fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    [&[0xd9, length], text.as_bytes()].concat()
}

fn removed(hash: &[u8], tail: &[u8], fields: u8) -> Vec<u8> {
    [&[0x90 | fields][..], &text("BlockRemoved"), &[0x91], hash, tail].concat()
}

/// What each event of a message is, in words.
fn read(message: &[u8]) -> Vec<Result<String, WireError>> {
    let mut buffers = Buffers::default();
    let mut events = Batch::read(message).expect("a batch").events();
    let mut read = Vec::new();
    while let Some(event) = events.next(&mut buffers) {
        read.push(event.map(|event| format!("{event:?}")));
    }
    read
}

/// The hash of the only block of the only event.
fn only_hash(message: &[u8]) -> EngineHash {
    let mut buffers = Buffers::default();
    match Batch::read(message).expect("a batch").events().next(&mut buffers) {
        Some(Ok(EngineEvent::Removed(removed))) => removed.blocks[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn hashes_are_numbers_with_or_without_sign_or_raw_bytes() {
    let hash = |bytes: &[u8]| only_hash(&batch_of(&[&removed(bytes, &[], 2)]));
    assert_eq!(hash(b"\xff"), EngineHash(u64::MAX), "-1");
    assert_eq!(hash(b"\xd3\x80\0\0\0\0\0\0\x05"), EngineHash(0x8000_0000_0000_0005));
    let raw: Vec<u8> = [0xc4, 32].into_iter().chain(0..32).collect();
    assert_eq!(hash(&raw), EngineHash(0x1819_1a1b_1c1d_1e1f), "the last eight of 32 bytes");
    assert_eq!(hash(b"\xc4\x02\x01\x02"), EngineHash(0x0102));
}

/// vLLM's own numbers for its hashes of 32 bytes, from its own code.
#[test]
fn raw_hashes_become_the_numbers_that_vllm_makes_of_them() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/golden/block_hashes.json")).expect("it is JSON");
    let blocks =
        golden.as_array().expect("a list").iter().filter_map(|case| case["blocks"].as_array()).flatten();
    let mut compared = 0;
    for block in blocks {
        let (Some(hex), Some(number)) = (block["hex"].as_str(), block["u64"].as_u64()) else { continue };
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("in hexadecimal");
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let raw = [&[0xc4, u8::try_from(bytes.len()).expect("short")], bytes.as_slice()].concat();
        assert_eq!(only_hash(&batch_of(&[&removed(&raw, &[], 2)])), EngineHash(number));
        compared += 1;
    }
    assert!(compared >= 2, "only {compared} were there");
}

#[test]
fn fields_of_later_releases_are_passed_over() {
    let longer = removed(b"\x07", b"\xc0\xc0\xc0\x81\x01\x02", 6);
    let named = [
        &[0x83][..],
        &text("next"),
        b"\x91\xc0",
        &text("block_hashes"),
        b"\x91\x07",
        &text("type"),
        &text("BlockRemoved"),
    ];
    assert_eq!(read(&batch_of(&[&longer])), read(&batch_of(&[&named.concat()])));
    let message = [&[0x95][..], b"\x01\x90\xc0\xa1x\x80"].concat();
    assert!(Batch::read(&message).expect("a batch with more fields").is_empty());
}

#[test]
fn a_batch_may_be_a_map_and_its_rank_may_be_missing() {
    let message = [
        &[0x82][..],
        &text("events"),
        b"\x91\x91",
        &text("AllBlocksCleared"),
        &text("ts"),
        b"\xca\x3f\x80\0\0",
    ];
    let message = message.concat();
    let batch = Batch::read(&message).expect("a batch");
    assert_eq!((batch.published_s, batch.data_parallel_rank, batch.len()), (1.0, None, 1));
    assert_eq!(read(&message), [Ok("Cleared".to_owned())]);
}

#[test]
fn an_unreadable_event_costs_that_event_only_and_says_what_was_wrong() {
    let good = removed(b"\x07", &[], 2);
    let moved = [&[0x92][..], &text("BlockMoved"), b"\x91\x07"].concat();
    let bad = removed(b"\xa1x", &[], 2);
    let told = read(&batch_of(&[&good, &moved, &bad, b"\x05", b"\x90", &good]));
    assert_eq!(told[0], told[5]);
    let errors: Vec<String> = told[1..5].iter().map(|told| told.as_ref().unwrap_err().to_string()).collect();
    assert!(
        errors[0].starts_with("type could not be read at byte 33: the kind of event is unknown"),
        "{errors:?}"
    );
    assert!(
        errors[1].starts_with(
            "block_hashes could not be read at byte 53: expected a number or bytes, found a text"
        ),
        "{errors:?}"
    );
    assert!(
        errors[2]
            .starts_with("the event could not be read at byte 54: expected a list or a map, found a number"),
        "{errors:?}"
    );
    assert!(errors[3].starts_with("type could not be read at byte 55: the field is missing"), "{errors:?}");
}

#[test]
fn tokens_that_do_not_fill_the_blocks_are_an_error_unless_blocks_are_only_copied() {
    let store = |tokens: &[u8], medium: &str| {
        let head = [&[0x97][..], &text("BlockStored"), b"\x91\x07\xc0"].concat();
        batch_of(&[&[&head[..], tokens, b"\x02\xc0", &text(medium)].concat()])
    };
    assert!(read(&store(b"\x92\x01\x02", "GPU"))[0].is_ok());
    let uneven = Problem::Uneven { tokens: 1, blocks: 1, block_tokens: 2 };
    assert_eq!(read(&store(b"\x91\x01", "GPU"))[0].as_ref().unwrap_err().problem, uneven);
    assert!(read(&store(b"\x90", "GPU"))[0].is_err());
    assert!(read(&store(b"\x90", "CPU"))[0].is_ok(), "a copy on the host");
}

#[test]
fn pairs_of_tokens_are_read_by_their_first() {
    let head =
        [&[0x96][..], &text("BlockStored"), b"\x91\x07\xc0\x92\x92\x05\x06\x92\x06\x09\x02\xc0"].concat();
    let told = read(&batch_of(&[&head]));
    assert!(told[0].as_ref().expect("it is readable").contains("tokens: [5, 6]"), "{told:?}");
}

/// An event that owns what it is made of.
#[derive(Clone, Debug)]
struct Made {
    hashes: Vec<EngineHash>,
    parent: Option<EngineHash>,
    tokens: Vec<TokenId>,
    home: Home,
    lora: Option<String>,
    kind: u8,
}

impl Made {
    fn event(&self) -> EngineEvent<'_> {
        match self.kind {
            0 => EngineEvent::Cleared,
            1 => EngineEvent::Removed(Removed { blocks: &self.hashes, home: self.home }),
            _ => EngineEvent::Stored(Stored {
                blocks: &self.hashes,
                parent: self.parent,
                tokens: &self.tokens,
                block_tokens: Tokens(2),
                home: self.home,
                attention: (self.kind == 2).then_some(AttentionKind::Full),
                lora: Lora { id: None, name: self.lora.as_deref() },
                cache_salt: None,
                extra_keys: ExtraKeys::default(),
            }),
        }
    }
}

fn made() -> impl Strategy<Value = Made> {
    let number = prop_oneof![0..200_u64, any::<u64>()];
    let home = (0..4_usize, prop::option::of(any::<u32>()));
    let token = prop_oneof![0..200_u32, 0..70_000_u32, any::<u32>()];
    let blocks = prop::collection::vec((number.clone(), token.clone(), token), 1..70);
    let of = (blocks, prop::option::of(number), home, prop::option::of(".{0,40}"), 0..4_u8);
    of.prop_map(|(blocks, parent, (tier, group), lora, kind)| Made {
        hashes: blocks.iter().map(|(hash, ..)| EngineHash(*hash)).collect(),
        parent: parent.map(EngineHash),
        tokens: blocks.iter().flat_map(|(_, one, two)| [*one, *two]).collect(),
        home: Home { tier: Tier::ALL[tier], group },
        lora,
        kind,
    })
}

proptest! {
    #[test]
    fn what_is_encoded_in_either_form_is_read_again(
        made in prop::collection::vec(made(), 0..20),
        rank in prop::option::of(any::<u32>()),
    ) {
        let events: Vec<_> = made.iter().map(Made::event).collect();
        for form in [Form::Array, Form::Map] {
            let mut message = Vec::new();
            encode(form, 7.25, &events, rank, &mut message);
            let batch = Batch::read(&message).expect("a batch");
            prop_assert_eq!((batch.published_s, batch.data_parallel_rank), (7.25, rank));
            let (mut buffers, mut read) = (Buffers::default(), batch.events());
            for event in &events {
                prop_assert_eq!(read.next(&mut buffers).expect("as many"), Ok(*event));
            }
            prop_assert!(read.next(&mut buffers).is_none());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(batch) = Batch::read(&bytes) {
            let (mut buffers, mut events) = (Buffers::default(), batch.events());
            while events.next(&mut buffers).is_some() {}
        }
    }
}
