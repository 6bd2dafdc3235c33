//! Rendezvous hashing with bounded loads: every key ranks all workers, and goes to the first in its ranking that has room.
//!
//! Gateways that know the same workers agree without talking, and a worker that comes or goes moves only the keys it wins
//! or loses (Thaler and Ravishankar 1998). The bound keeps a hot key from drowning its worker: nobody takes more than
//! `factor` times the average number of requests in flight (Mirrokni, Thorup and Zadimoghaddam 2018).

use warmroute_kv::BlockHash;

use super::{Candidates, Choice, OptionInfo};
use crate::request::Reason;

/// The setting of how far above the average a worker may be.
pub(super) const FACTOR: OptionInfo = OptionInfo {
    name: "factor",
    default: 1.25,
    range: (1.0, 100.0),
    about: "a worker takes no more than this many times the average number of requests in flight",
};

/// The first worker in the ranking of `key` that stays within the bound.
pub(super) fn choose(key: u64, factor: f64, among: Candidates<'_>) -> Choice {
    let in_flight: u32 = among.iter().map(|candidate| candidate.in_flight).sum();
    let bound = (factor * f64::from(in_flight + 1) / among.count() as f64).ceil();
    let rank = |worker: u32| BlockHash(key).next_text(&worker.to_le_bytes()).0;
    let first = among.iter().max_by_key(|candidate| rank(candidate.worker.0));
    let with_room = among
        .iter()
        .filter(|candidate| f64::from(candidate.in_flight + 1) <= bound)
        .max_by_key(|candidate| rank(candidate.worker.0));
    // Somebody is at or below the average, and the bound is above it.
    let chosen = with_room.or(first).expect("candidates are never empty").worker;
    let reason = if first.is_some_and(|first| first.worker == chosen) { Reason::Hash } else { Reason::Spill };
    Choice { worker: chosen, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Candidate, Occasion};
    use crate::request::WorkerId;

    fn fleet(loads: &[u32]) -> Vec<Candidate> {
        let candidate = |(id, in_flight): (usize, &u32)| Candidate {
            worker: WorkerId(id as u32),
            in_flight: *in_flight,
            ..Candidate::idle(WorkerId(id as u32))
        };
        loads.iter().enumerate().map(candidate).collect()
    }

    fn chosen(key: u64, fleet: &[Candidate]) -> WorkerId {
        choose(key, 1.25, Candidates::new(fleet, Occasion::default()).unwrap()).worker
    }

    #[test]
    fn keys_are_spread_evenly_and_a_new_worker_moves_only_its_share() {
        let (four, five) = (fleet(&[0; 4]), fleet(&[0; 5]));
        let mut counts = [0; 4];
        let mut moved = 0;
        for key in 0..4_000 {
            let before = chosen(key, &four);
            let after = chosen(key, &five);
            counts[before.0 as usize] += 1;
            moved += usize::from(before != after);
            assert!(before == after || after == WorkerId(4), "key {key} moved between old workers");
        }
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
        assert!((650..950).contains(&moved), "a fifth of the keys moves, not {moved} of 4,000");
    }

    #[test]
    fn a_hot_key_spills_over_at_the_bound_and_no_earlier() {
        let mut loads = [0_u32; 4];
        for _ in 0..400 {
            let worker = chosen(7, &fleet(&loads));
            loads[worker.0 as usize] += 1;
            let total: u32 = loads.iter().sum();
            let bound = (1.25 * f64::from(total) / 4.0).ceil() as u32;
            assert!(loads.iter().all(|load| *load <= bound), "{loads:?} over {bound}");
        }
        assert_eq!(*loads.iter().max().unwrap(), 125, "{loads:?}");
    }
}
