//! Consistent hashing of the prompt's beginning with bounded loads: prompts that begin alike go to one worker, unless it
//! has more than its share in flight.
//!
//! It needs no index and no events, which is why much of the field uses it, and it knows no caches: prompts that differ
//! only behind the hashed beginning all want the same worker, and where a prompt spilled to is forgotten at once.

use super::{Candidates, Choice, OptionInfo, Options, Policy, rendezvous};
use crate::chance::Chance;
use crate::request::{Request, Unit};

pub(super) const ABOUT: &str = "a hash of the prompt's beginning, spilling over where a worker has more than its share";
pub(super) const OPTIONS: &[OptionInfo] = &[rendezvous::FACTOR, PREFIX];

/// The setting of how long a beginning is.
pub(super) const PREFIX: OptionInfo = OptionInfo {
    name: "prefix",
    default: 512.0,
    range: (1.0, 1e6),
    about: "tokens at the beginning of the prompt that are hashed, rounded up to whole blocks",
};

/// Bytes of JSON text in a token, where prompts come in bytes: the hashed beginning need not be exact.
const BYTES_PER_TOKEN: usize = 4;

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    BoundedHash { factor: options.get("factor"), prefix_tokens: options.count("prefix") }
}

#[derive(Clone)]
struct BoundedHash {
    factor: f64,
    prefix_tokens: usize,
}

impl Policy for BoundedHash {
    fn choose(&mut self, request: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        rendezvous::choose(beginning(request, self.prefix_tokens), self.factor, among)
    }
}

/// A key that prompts share whose first `tokens` tokens are equal: the name of the block they end in. A prompt with no
/// whole block is known by its first characters.
pub(super) fn beginning(request: &Request<'_>, tokens: usize) -> u64 {
    let length = match request.unit {
        Unit::Tokens => tokens,
        Unit::Bytes => tokens.saturating_mul(BYTES_PER_TOKEN),
    };
    let blocks = request.block.covering(length).clamp(1, request.blocks.len().max(1));
    match request.blocks.get(blocks - 1) {
        Some(name) => name.0,
        None => request.root.next_text(request.text.start().as_bytes()).0,
    }
}
