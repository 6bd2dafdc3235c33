//! What it costs to follow engines, from a message's bytes to the index: ours and dynamo-kv-router's way, in one process and interleaved
//! rounds.

mod fleet;
mod path;

use serde::Serialize;
use stats_alloc::Region;
use warmroute_kv::wire::Form;

pub use self::fleet::{BLOCK_TOKENS, Fleet, Message, PROMPT_BLOCKS, Sent, tokens};
use self::path::{CONTENDERS, Contender, Path};
use crate::measure::{median, seconds, spread};

/// One engine with a short memory, and many that remember.
pub const FLEETS: [Fleet; 4] = [
    Fleet { form: Form::Array, publishers: 1, prompts: 2048, held: 1 },
    Fleet { form: Form::Map, publishers: 1, prompts: 2048, held: 1 },
    Fleet { form: Form::Array, publishers: 64, prompts: 128, held: 32 },
    Fleet { form: Form::Map, publishers: 64, prompts: 128, held: 32 },
];

/// One way's figures for one fleet: medians of the rounds. Rates are per second of the process's CPU time.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub contender: &'static str,
    pub fleet: String,
    pub decoded_blocks_per_s: f64,
    pub indexed_blocks_per_s: f64,
    /// Of the rounds: (largest - smallest) / median.
    pub indexed_spread: f64,
    /// Kept when the publishers hold the most.
    pub heap_bytes: usize,
    /// Per distinct pair of publisher and block.
    pub bytes_per_held_block: f64,
    /// Kept when they hold nothing any more.
    pub bytes_left: usize,
}

pub fn figures(fleet: &Fleet, rounds: usize) -> Vec<Figures> {
    let sent = fleet.sent();
    let mut decoded = vec![vec![]; CONTENDERS.len()];
    let mut indexed = vec![vec![]; CONTENDERS.len()];
    for first in 0..rounds {
        // Everybody goes first in turn: what a contender leaves of the heap is the next one's trouble.
        for turn in 0..CONTENDERS.len() {
            let contender = (first + turn) % CONTENDERS.len();
            let Contender { begin, decode, .. } = CONTENDERS[contender];
            let rate = |seconds: f64| fleet.told() as f64 / seconds;
            decoded[contender].push(rate(seconds(|| {
                decode(&sent.filling);
                decode(&sent.emptying);
            })));
            let mut path = begin(fleet.publishers);
            indexed[contender].push(rate(seconds(|| {
                path.hear(&sent.filling);
                path.hear(&sent.emptying);
            })));
        }
    }
    let rows = CONTENDERS.iter().zip(decoded).zip(indexed);
    let row = |((contender, decoded), indexed): ((&Contender, Vec<f64>), Vec<f64>)| {
        let (heap_bytes, bytes_left) = weigh(contender, fleet, &sent);
        Figures {
            contender: contender.name,
            fleet: fleet.name(),
            decoded_blocks_per_s: median(decoded),
            indexed_spread: spread(&indexed),
            indexed_blocks_per_s: median(indexed),
            heap_bytes,
            bytes_per_held_block: heap_bytes as f64 / fleet.held_blocks() as f64,
            bytes_left,
        }
    };
    rows.map(row).collect()
}

/// What is kept at the fullest and at the end, after a look at whether it is the truth: nobody is quick by leaving something out.
fn weigh(contender: &Contender, fleet: &Fleet, sent: &Sent) -> (usize, usize) {
    let mut path = (contender.begin)(fleet.publishers);
    path.hear(&sent.filling);
    check(contender, fleet, &*path, PROMPT_BLOCKS);
    let full = given_back(path);
    let mut path = (contender.begin)(fleet.publishers);
    path.hear(&sent.filling);
    path.hear(&sent.emptying);
    check(contender, fleet, &*path, 0);
    (full, given_back(path))
}

/// # Panics
/// If a publisher's last prompts are not held to this depth, or the one before them is held at all.
fn check(contender: &Contender, fleet: &Fleet, path: &dyn Path, depth: usize) {
    let kept = fleet.prompts - fleet.held;
    for publisher in 0..fleet.publishers {
        let found = |place| path.depth(publisher, &tokens(fleet.prompt(publisher, place)));
        assert_eq!(found(kept - 1), 0, "{}: publisher {publisher} has given it up", contender.name);
        for place in kept..fleet.prompts {
            assert_eq!(found(place), depth, "{}: publisher {publisher}, prompt {place}", contender.name);
        }
    }
}

/// What dropping it gives back: neither messages nor what it uses in passing counts.
fn given_back(path: Box<dyn Path>) -> usize {
    let region = Region::new(crate::ALLOCATOR);
    drop(path);
    let change = region.change();
    change.bytes_deallocated.saturating_sub(change.bytes_allocated)
}
