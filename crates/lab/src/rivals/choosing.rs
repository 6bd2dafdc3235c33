//! What several rivals need when they choose: a draw among the best, and a word for what decided.

use std::cmp::Ordering;

use warmroute_routing::policy::Candidate;
use warmroute_routing::{Chance, Reason};

/// One of those with the least `cost`, each as likely: routers that shuffle before they pick break ties like this.
///
/// # Panics
/// If there is nobody to choose from, or every cost is NaN.
pub(super) fn any_least<'a>(
    among: impl IntoIterator<Item = &'a Candidate>,
    chance: &mut Chance,
    cost: impl Fn(&Candidate) -> f64,
) -> &'a Candidate {
    let mut least = f64::INFINITY;
    let mut equals = Vec::new();
    for candidate in among {
        let cost = cost(candidate);
        match cost.total_cmp(&least) {
            Ordering::Less => {
                least = cost;
                equals.clear();
                equals.push(candidate);
            }
            Ordering::Equal => equals.push(candidate),
            Ordering::Greater => {}
        }
    }
    equals[chance.below(equals.len())]
}

/// What decided, from how much of the prompt each candidate is believed to hold and how much the chosen one does.
pub(super) fn reason<T: Ord + Copy>(held: impl Iterator<Item = T>, chosen: T) -> Reason {
    let (least, most) = held.fold((chosen, chosen), |(least, most), held| (least.min(held), most.max(held)));
    match chosen {
        _ if least == most => Reason::LeastLoad,
        held if held == most => Reason::Prefix,
        _ => Reason::Spill,
    }
}

/// A uniform number from 0 up to, but not including, 1.
pub(super) fn fraction(chance: &mut Chance) -> f64 {
    // The upper 53 bits are what an f64 holds.
    (chance.draw() >> 11) as f64 / (1_u64 << 53) as f64
}
