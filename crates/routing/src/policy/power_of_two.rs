//! The less loaded of two workers drawn at random (Mitzenmacher 2001): nearly as even as looking at all of them, and
//! without the herd that forms when many gateways see the same least loaded worker.

use super::{Candidates, Choice, OptionInfo, Options, Policy};
use crate::chance::Chance;
use crate::request::{Reason, Request};

pub(super) const ABOUT: &str = "the less loaded of two drawn at random";
pub(super) const OPTIONS: &[OptionInfo] = &[];

pub(super) fn build(_: &Options<'_>) -> impl Policy + use<> {
    PowerOfTwo
}

#[derive(Clone)]
struct PowerOfTwo;

impl Policy for PowerOfTwo {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, chance: &mut Chance) -> Choice {
        let first = chance.below(among.count());
        // The second is drawn from the others, by its distance from the first.
        let second = first + 1 + chance.below((among.count() - 1).max(1));
        let (one, other) = (among.nth(first), among.nth(second));
        let less = if other.in_flight < one.in_flight { other } else { one };
        Choice { worker: less.worker, reason: Reason::LeastLoad }
    }
}
