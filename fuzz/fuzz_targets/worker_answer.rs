//! Workers' answers over HTTP/1.1: no bytes in any pieces make their reader panic, it makes up nothing, and their pieces do not matter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warmroute_gateway::fuzzed::answer;

fuzz_target!(|input: (Vec<u8>, Vec<u16>)| {
    let (bytes, cuts) = input;
    let (mut rest, mut pieces) = (bytes.as_slice(), Vec::new());
    for cut in cuts {
        let (piece, after) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    let (whole, pieced) = (answer([bytes.as_slice()]), answer(pieces));
    if let Some((_, content, behind)) = &pieced {
        assert!(content.len() + behind.len() <= bytes.len());
    }
    assert_eq!(whole, pieced);
});
