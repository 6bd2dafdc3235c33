//! The tail of answers: no bytes in any pieces make it panic, and an answer that fits it says the same whatever its pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warmroute_openai::UsageTail;

fuzz_target!(|input: (Vec<u8>, Vec<u16>)| {
    let (answer, cuts) = input;
    let (mut whole, mut pieced) = (UsageTail::default(), UsageTail::default());
    whole.push(&answer);
    let mut rest = answer.as_slice();
    for cut in cuts {
        let (piece, after) = rest.split_at(usize::from(cut).min(rest.len()));
        pieced.push(piece);
        rest = after;
    }
    pieced.push(rest);
    // A longer answer may leave more than the promised end of it in one of them.
    if answer.len() <= warmroute_openai::KEPT_BYTES {
        assert_eq!(whole.usage(), pieced.usage());
    } else {
        let _ = (whole.usage(), pieced.usage());
    }
});
