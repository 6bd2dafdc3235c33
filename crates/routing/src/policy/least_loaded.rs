//! The worker with the fewest requests in flight; of equals, the one chosen longest ago, so that an idle fleet is used
//! evenly and not from its first worker on.

use super::{Candidates, Choice, OptionInfo, Options, Policy};
use crate::chance::Chance;
use crate::request::{Reason, Request};

pub(super) const ABOUT: &str = "the worker with the fewest requests in flight";
pub(super) const OPTIONS: &[OptionInfo] = &[];

pub(super) fn build(_: &Options<'_>) -> impl Policy + use<> {
    LeastLoaded
}

#[derive(Clone)]
struct LeastLoaded;

impl Policy for LeastLoaded {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        let least = among.least(|worker| [f64::from(worker.in_flight), worker.last_chosen as f64]);
        Choice { worker: least.worker, reason: Reason::LeastLoad }
    }
}
