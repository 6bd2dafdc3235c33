//! What became of prompt tokens lately, and how fast they came: sums that forget.

use warmroute_kv::Tokens;

use super::Candidate;
use crate::time::Time;

/// Decisions after which one counts for 1/e in what is known of reuse: long enough to see a working set, short enough to
/// follow a change of traffic.
const MEMORY: f64 = 200.0;
/// What one decision leaves of it.
const KEEP: f64 = 1.0 - 1.0 / MEMORY;
/// Decisions before full caches after which the first strength counts for 1/e.
const DOUBT: f64 = 300.0;
/// Everything is taken to be reused at first, with the weight of so many prompts.
const HOPE: f64 = 25.0;
/// Seconds over which it is measured at least how fast caches fill: two prompts at once are no flood.
const LEAST_SPAN_S: f64 = 1.0;

/// What became of prompt tokens lately: sums that forget.
#[derive(Clone, Debug)]
pub(super) struct Reuse {
    prompt: f64,
    /// They went to a worker that held them.
    hit: f64,
    /// They had been sent before, and no worker held them any more.
    lost: f64,
    /// From 1 to 0 as evictions become known.
    pub(super) doubt: f64,
}

impl Default for Reuse {
    fn default() -> Self {
        Self { prompt: 0.0, hit: 0.0, lost: 0.0, doubt: 1.0 }
    }
}

impl Reuse {
    /// The share of prompt tokens that were reused.
    pub(super) fn share(&self) -> f64 {
        if self.prompt > 0.0 { self.hit / self.prompt } else { 0.0 }
    }

    /// The share of reusable tokens that evictions have cost.
    pub(super) fn lost(&self) -> f64 {
        let reusable = self.hit + self.lost;
        if reusable > 0.0 { self.lost / reusable } else { 0.0 }
    }

    pub(super) fn learn(&mut self, chosen: &Candidate, lost: f64, full: f64) {
        let prompt = (chosen.overlap + chosen.uncached).as_f64();
        if self.prompt == 0.0 {
            (self.prompt, self.hit) = (HOPE * prompt, HOPE * prompt);
        }
        self.doubt -= self.doubt * full / DOUBT;
        self.prompt = KEEP.mul_add(self.prompt, prompt);
        self.hit = KEEP.mul_add(self.hit, chosen.overlap.as_f64());
        self.lost = KEEP.mul_add(self.lost, lost);
    }
}

/// How fast prompts fill the caches lately, as far as this gateway sent them: sums that forget.
#[derive(Clone, Debug, Default)]
pub(super) struct Filling {
    /// Tokens that were not held where they went.
    read: f64,
    /// Seconds in which they came.
    span_s: f64,
    last: Option<Time>,
}

impl Filling {
    /// Tokens in a second.
    pub(super) fn per_s(&self) -> f64 {
        self.read / self.span_s.max(LEAST_SPAN_S)
    }

    pub(super) fn learn(&mut self, read: Tokens, now: Time) {
        let passed_s = self.last.replace(now).map_or(0.0, |last| now.seconds_since(last));
        self.read = KEEP.mul_add(self.read, read.as_f64());
        self.span_s = KEEP.mul_add(self.span_s, passed_s);
    }
}
