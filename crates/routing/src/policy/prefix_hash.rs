//! SHA-256 of the prompt's first characters, modulo the number of workers: how the proof of concept kept a prompt's
//! cache warm.
//!
//! It knows no load and no cache. Prompts that begin alike all go to one worker, and a worker that comes or goes moves
//! nearly every prompt. Kept as the yardstick that the tables compare with.

use sha2::{Digest, Sha256};

use super::{Candidates, Choice, OptionInfo, Options, Policy};
use crate::chance::Chance;
use crate::request::{Reason, Request};

pub(super) const ABOUT: &str = "a hash of the prompt's first characters, modulo the number of workers";
pub(super) const OPTIONS: &[OptionInfo] = &[OptionInfo {
    name: "chars",
    default: 20.0,
    range: (1.0, 256.0),
    about: "characters hashed; the proof of concept took 20",
}];

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    PrefixHash { chars: options.count("chars") }
}

#[derive(Clone)]
struct PrefixHash {
    chars: usize,
}

impl Policy for PrefixHash {
    fn choose(&mut self, request: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        let text = request.text.start();
        let end = text.char_indices().nth(self.chars).map_or(text.len(), |(end, _)| end);
        let digest = Sha256::digest(&text.as_bytes()[..end]);
        // The digest as one big-endian number modulo the fleet, as Python's int(hexdigest, 16) % n.
        let place = digest.iter().fold(0, |rest, byte| (rest * 256 + usize::from(*byte)) % among.count());
        Choice { worker: among.nth(place).worker, reason: Reason::Hash }
    }
}
