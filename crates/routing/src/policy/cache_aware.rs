//! The least cost in prompt tokens: what is queued there, what of this prompt is missing there, and what the choice
//! does to everybody else.
//!
//! ```text
//! cost = queued + uncached + rho x (best overlap - overlap) x fill + kappa x in flight
//! ```
//!
//! Affinity is priced in the unit of what it saves, so a queue longer than the saving breaks it by itself, per request
//! and per worker; there is no threshold and no global switch. Only overlap beyond the common level counts, since what
//! everybody holds is missing nowhere. `rho` is the price of computing a prefix a second time elsewhere: it evicts
//! something where the cache is full, and nothing where it is empty. `kappa` keeps long answers from piling up.
//!
//! Equal costs go to the worker with the least recent work, then the fewest requests, then to the one chosen longest
//! ago. Where nobody holds anything this is least work.

use super::{Candidate, Candidates, Choice, OptionInfo, Options, Policy};
use crate::chance::Chance;
use crate::request::{Reason, Request};
use warmroute_kv::Tokens;

pub(super) const ABOUT: &str = "the least work, counting what each worker's cache saves and what the choice evicts";
pub(super) const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "rho",
        default: 2.0,
        range: (0.0, 1e6),
        about: "price of a second copy of a prefix, in tokens of queue per token copied into a full cache",
    },
    OptionInfo {
        name: "kappa",
        default: 300.0,
        range: (0.0, 1e9),
        about: "price of each request already in flight on a worker, in prompt tokens",
    },
];

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    CacheAware { rho: options.get("rho"), kappa: options.get("kappa") }
}

struct CacheAware {
    rho: f64,
    kappa: f64,
}

impl CacheAware {
    fn cost(&self, candidate: &Candidate, best: Tokens) -> f64 {
        let own = (candidate.queued + candidate.uncached).as_f64();
        let copied = (best - candidate.overlap).as_f64() * candidate.fill;
        own + self.rho * copied + self.kappa * f64::from(candidate.in_flight)
    }
}

impl Policy for CacheAware {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        let overlaps = || among.iter().map(|candidate| candidate.overlap);
        let best = overlaps().max().unwrap_or_default();
        let common = overlaps().min().unwrap_or_default();
        let chosen = among.least(|candidate| {
            let ties = [candidate.recent, f64::from(candidate.in_flight), candidate.last_chosen as f64];
            [self.cost(candidate, best), ties[0], ties[1], ties[2]]
        });
        let reason = match chosen.overlap {
            _ if best == common => Reason::LeastLoad,
            overlap if overlap == best => Reason::Prefix,
            _ => Reason::Spill,
        };
        Choice { worker: chosen.worker, reason }
    }
}
