//! Any worker, each as likely: the baseline that scatters prefixes over the fleet.

use super::{Candidates, Choice, OptionInfo, Options, Policy};
use crate::chance::Chance;
use crate::request::{Reason, Request};

pub(super) const ABOUT: &str = "any worker, each as likely";
pub(super) const OPTIONS: &[OptionInfo] = &[];

pub(super) fn build(_: &Options<'_>) -> impl Policy + use<> {
    Random
}

#[derive(Clone)]
struct Random;

impl Policy for Random {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, chance: &mut Chance) -> Choice {
        Choice { worker: among.nth(chance.below(among.count())).worker, reason: Reason::Chance }
    }
}
