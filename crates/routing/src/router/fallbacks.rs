//! Whom to try if the chosen worker cannot be reached: least work first, then fewest requests, then whoever was chosen longest
//! ago.

use crate::policy::{Candidate, Candidates};
use crate::request::WorkerId;

/// Fallbacks that a decision names: drivers try fewer workers than this.
const MOST_FALLBACKS: usize = 4;

/// The best of the candidates beside `chosen`, best first.
pub(super) fn fallbacks(among: Candidates<'_>, chosen: WorkerId) -> Vec<WorkerId> {
    let most = MOST_FALLBACKS.min(among.count() - 1);
    // A handful is kept sorted on the way: most candidates are compared with its last and leave it as it is.
    let mut best = [(u128::MAX, chosen); MOST_FALLBACKS];
    for other in among.iter().filter(|other| other.worker != chosen) {
        let key = order(other);
        if key < best[MOST_FALLBACKS - 1].0 {
            let mut place = MOST_FALLBACKS - 1;
            while place > 0 && key < best[place - 1].0 {
                best[place] = best[place - 1];
                place -= 1;
            }
            best[place] = (key, other.worker);
        }
    }
    best[..most].iter().map(|(_, worker)| *worker).collect()
}

/// Ordered as the three numbers are; of equal ones the first stays before.
fn order(candidate: &Candidate) -> u128 {
    let work = candidate.queued + candidate.uncached;
    u128::from(work.0) << 96 | u128::from(candidate.in_flight) << 64 | u128::from(candidate.last_chosen)
}
