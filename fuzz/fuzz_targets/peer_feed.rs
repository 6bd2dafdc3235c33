//! What other gateways tell: no bytes in any pieces make its reader panic, or the router that is told of it, and their pieces do not matter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warmroute_gateway::peers_fuzzed::feed;
use warmroute_kv::Tokens;
use warmroute_routing::{Event, Publishes, Router, Settings, Time, WorkerId, WorkerSpec};

const WORKER: WorkerId = WorkerId(0);

fuzz_target!(|input: (Vec<u8>, Vec<u16>)| {
    let (bytes, cuts) = input;
    let (mut rest, mut pieces) = (bytes.as_slice(), Vec::new());
    for cut in cuts {
        let (piece, after) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    let told = feed([bytes.as_slice()]);
    assert_eq!(told, feed(pieces));

    let mut router = Router::new(Settings { memory_bytes: Some(1 << 20), ..Settings::default() });
    let spec = WorkerSpec { capacity: Some(Tokens(100_000)), publishes: Publishes::Nothing };
    router.observe(Event::Joined { worker: WORKER, spec }, Time::ZERO);
    let workers = [("w", WORKER)].into();
    for event in told.iter().flat_map(|line| line.events(&workers)) {
        router.observe(event, Time::ZERO);
    }
});
