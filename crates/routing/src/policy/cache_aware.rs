//! The least cost in prompt tokens: what is queued there, what of this prompt is missing there, and what the choice
//! does to everybody else.
//!
//! ```text
//! cost = queued + uncached + rho x reuse x fill x uncached + kappa x in flight
//! ```
//!
//! Affinity is priced in the unit of what it saves, so a queue longer than the saving breaks it by itself, per request
//! and per worker; there is no threshold and no global switch.
//!
//! The third term is the price of what the choice evicts. Tokens computed on a worker push as many others out of its
//! cache where that is full (`fill`), and each of those will be wanted again about as likely as tokens have been lately
//! (`reuse`, the share of prompt tokens that went to a worker which held them). It keeps a prefix from being copied
//! everywhere, and it is what keeps one worker from getting every new prompt just because it alone holds a few tokens
//! that all prompts begin with. `kappa` keeps long answers from piling up.
//!
//! Equal costs go to the worker with the least recent work, then the fewest requests, then to the one chosen longest
//! ago. Where nothing is reused, `reuse` is zero and this is least work.

use super::{Candidate, Candidates, Choice, OptionInfo, Options, Policy};
use crate::chance::Chance;
use crate::request::{Reason, Request};

pub(super) const ABOUT: &str = "the least work, counting what each worker's cache saves and what the choice evicts";
pub(super) const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "rho",
        default: 4.0,
        range: (0.0, 1e6),
        about: "price of evicting a token that is certain to be wanted again, in tokens of queue",
    },
    OptionInfo {
        name: "kappa",
        default: 300.0,
        range: (0.0, 1e9),
        about: "price of each request already in flight on a worker, in prompt tokens",
    },
];

/// Decisions after which one counts for 1/e in the share of reuse: long enough to see a working set, short enough to
/// follow a change of traffic.
const REUSE_MEMORY: f64 = 200.0;

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    CacheAware { rho: options.get("rho"), kappa: options.get("kappa"), reuse: Reuse::default() }
}

struct CacheAware {
    rho: f64,
    kappa: f64,
    reuse: Reuse,
}

impl CacheAware {
    fn cost(&self, candidate: &Candidate) -> f64 {
        let uncached = candidate.uncached.as_f64();
        let evicting = self.rho * self.reuse.share() * candidate.fill * uncached;
        candidate.queued.as_f64() + uncached + evicting + self.kappa * f64::from(candidate.in_flight)
    }
}

impl Policy for CacheAware {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        let chosen = among.least(|candidate| {
            let ties = [candidate.recent, f64::from(candidate.in_flight), candidate.last_chosen as f64];
            [self.cost(candidate), ties[0], ties[1], ties[2]]
        });
        self.reuse.learn(chosen);
        let overlaps = || among.iter().map(|candidate| candidate.overlap);
        let (best, common) = (overlaps().max().unwrap_or_default(), overlaps().min().unwrap_or_default());
        let reason = match chosen.overlap {
            _ if best == common => Reason::LeastLoad,
            overlap if overlap == best => Reason::Prefix,
            _ => Reason::Spill,
        };
        Choice { worker: chosen.worker, reason }
    }
}

/// The share of prompt tokens that lately went to a worker which held them.
#[derive(Debug, Default)]
struct Reuse {
    overlap: f64,
    prompt: f64,
}

impl Reuse {
    fn share(&self) -> f64 {
        if self.prompt > 0.0 { self.overlap / self.prompt } else { 0.0 }
    }

    fn learn(&mut self, chosen: &Candidate) {
        let keep = 1.0 - 1.0 / REUSE_MEMORY;
        self.overlap = keep.mul_add(self.overlap, chosen.overlap.as_f64());
        self.prompt = keep.mul_add(self.prompt, (chosen.overlap + chosen.uncached).as_f64());
    }
}
