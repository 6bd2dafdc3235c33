//! Each worker in turn.
//!
//! The turn goes to whoever was chosen longest ago, not to a counter modulo the fleet: a worker that joins or leaves
//! then shifts nobody's turn.

use super::{Candidates, Choice, OptionInfo, Options, Policy};
use crate::chance::Chance;
use crate::request::{Reason, Request};

pub(super) const ABOUT: &str = "each worker in turn";
pub(super) const OPTIONS: &[OptionInfo] = &[];

pub(super) fn build(_: &Options<'_>) -> impl Policy + use<> {
    RoundRobin
}

#[derive(Clone)]
struct RoundRobin;

impl Policy for RoundRobin {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        // A count of decisions stays exact in f64 for 2^53 of them.
        Choice { worker: among.least(|worker| [worker.last_chosen as f64]).worker, reason: Reason::Rotation }
    }
}
