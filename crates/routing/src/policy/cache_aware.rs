//! experimental

use super::{Candidate, Candidates, Choice, OptionInfo, Options, Policy};
use crate::chance::Chance;
use crate::request::{Reason, Request};

pub(super) const ABOUT: &str = "the least work, counting what each worker's cache saves and what the choice evicts";
const fn opt(name: &'static str, default: f64) -> OptionInfo {
    OptionInfo { name, default, range: (-1e9, 1e9), about: "x" }
}
pub(super) const OPTIONS: &[OptionInfo] = &[
    opt("gain", 0.0),
    opt("lo", 0.5),
    opt("hi", 4.0),
    opt("evict", -400.0),
    opt("press", 2.0),
    opt("kappa", 30.0),
    opt("clock", 1.0),
    opt("barrier", 0.3),
    opt("old", 0.0),
    opt("mem", 200.0),
    opt("pot", 0.0),
    opt("w", 2.0),
    opt("sq", 0.0),
    opt("theta", 1.0),
    opt("fl", 0.0),
];

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    CacheAware {
        o: OPTIONS.iter().map(|x| options.get(x.name)).collect::<Vec<_>>().try_into().expect("as many"),
        hit: 0.0,
        lost: 0.0,
        prompt: 0.0,
    }
}

struct CacheAware {
    o: [f64; 15],
    hit: f64,
    lost: f64,
    prompt: f64,
}

impl Policy for CacheAware {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        let [gain, lo, hi, evict, press, kappa, clock, barrier, old, mem, pot, w, sq, theta, fl] = self.o;
        let best = among.iter().map(|c| c.overlap).max().unwrap_or_default();
        let common = among.iter().map(|c| c.overlap).min().unwrap_or_default();
        let g = if self.hit + self.lost > 0.0 { self.lost / (self.lost + self.hit) } else { 0.0 };
        let rho = (gain * g).clamp(lo, hi);
        let reuse = if self.prompt > 0.0 { self.hit / self.prompt } else { 0.0 };
        let mean_recent = among.iter().map(|c| c.recent).sum::<f64>() / among.count() as f64;
        let behind = 1.0 + theta * among.iter().map(|c| f64::from(c.unread)).sum::<f64>() / among.count() as f64;
        let cost = |c: &Candidate| {
            let t = c.token_s;
            let wait = if clock > 0.0 { c.wait_s } else { c.queued.as_f64() * t };
            let dup = rho * t * (best - c.overlap).as_f64() * c.fill;
            let churn = if mean_recent > 0.0 { (c.recent / mean_recent).powf(press) } else { 1.0 };
            let evict = if evict < 0.0 { (-evict * g).clamp(lo, hi) } else { evict };
            let dup = if self.o[3] < 0.0 { 0.0 } else { dup };
            let ev = evict * reuse * t * c.uncached.as_f64() * c.fill * churn;
            let oldp = old * reuse * t * c.uncached.as_f64() * c.fill;
            let bar = match c.capacity {
                Some(cap) => {
                    let cap = cap.as_f64();
                    let need = c.active.as_f64() + c.uncached.as_f64();
                    barrier * among.stay_s() * ((need - 0.92 * cap) / cap).max(0.0)
                }
                None => 0.0,
            };
            let read = t * c.uncached.as_f64();
            let _ = (sq, pot);
            w * wait + behind * (read + dup + ev + oldp + bar * fl) + bar * (1.0 - fl) + kappa * t * f64::from(c.in_flight)
        };
        let chosen = among.least(|c| {
            [cost(c), c.recent, f64::from(c.in_flight), c.last_chosen as f64]
        });
        let keep = 1.0 - 1.0 / mem;
        let lost = among.remembered() - best;
        self.hit = keep * self.hit + chosen.overlap.as_f64();
        self.lost = keep * self.lost + lost.as_f64();
        self.prompt = keep * self.prompt + (chosen.overlap + chosen.uncached).as_f64();
        let reason = match chosen.overlap {
            _ if best == common => Reason::LeastLoad,
            overlap if overlap == best => Reason::Prefix,
            _ => Reason::Spill,
        };
        Choice { worker: chosen.worker, reason }
    }
}
