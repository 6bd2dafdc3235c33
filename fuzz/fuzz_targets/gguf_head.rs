//! Heads of GGUF files: no bytes make the reader panic or take memory that the file could not fill, and every tensor lies within it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warmroute_tokens::gguf::header::parse;

fuzz_target!(|input: (Vec<u8>, u16)| {
    let (mut bytes, behind) = input;
    // Nothing gets beyond the magic number and the version by chance.
    bytes.splice(0..0, *b"GGUF\x03\0\0\0");
    let length = bytes.len() as u64 + u64::from(behind);
    let Ok(header) = parse(bytes.as_slice(), length) else { return };
    for (name, place) in header.tensors {
        let end = place.start.checked_add(place.length as u64);
        assert!(end.is_some_and(|end| end <= length), "{name} {place:?} in {length}");
    }
});
