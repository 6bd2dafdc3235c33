//! Session affinity: requests that name the same session go to the same worker, unless it has more than its share in
//! flight.
//!
//! The session is whatever the client says: a header or a field of the body. A request that names none is known by its
//! prompt's beginning, as in `bounded_hash`.

use super::bounded_hash::{PREFIX, beginning};
use super::{Candidates, Choice, OptionInfo, Options, Policy, rendezvous};
use crate::chance::Chance;
use crate::request::Request;

pub(super) const ABOUT: &str = "a hash of the session or user that the client names, spilling over as bounded_hash does";
/// The prefix stands for the session where none is named.
pub(super) const OPTIONS: &[OptionInfo] = &[rendezvous::FACTOR, PREFIX];

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    Session { factor: options.get("factor"), prefix_tokens: options.count("prefix") }
}

#[derive(Clone)]
struct Session {
    factor: f64,
    prefix_tokens: usize,
}

impl Policy for Session {
    fn choose(&mut self, request: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        let key = request.session.unwrap_or_else(|| beginning(request, self.prefix_tokens));
        rendezvous::choose(key, self.factor, among)
    }
}
