//! What a run was like: how long first bytes took in calm, right after a change and once two seconds have passed since the last one.
//!
//! A change is the moment in which a harm begins or ends. Time in which the machine did not run us does not count.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::harm::Harm;
use crate::hitch::Hitches;
use crate::load::Ending;

/// After so long without a change latencies are to be what they were.
pub(crate) const RECOVERED_AFTER: Duration = Duration::from_secs(2);

/// All that a run has left.
pub(crate) struct Run {
    pub(crate) endings: Vec<Ending>,
    pub(crate) harms: Vec<Harm>,
    pub(crate) hitches: Hitches,
    /// The first harm came then.
    pub(crate) calm_until: Instant,
    /// The harms were over then.
    pub(crate) over: Instant,
}

/// Times to the first byte of some requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// What one in so many exceeds.
    pub(crate) fn exceeded_by_one_in(&mut self, many: usize) -> Duration {
        self.0.sort();
        let place = self.0.len() - self.0.len().div_ceil(many);
        self.0.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn p99(&mut self) -> Duration {
        self.exceeded_by_one_in(100)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// Times to the first byte, by when their requests began.
#[derive(Default)]
pub(crate) struct Phases {
    pub(crate) calm: Times,
    pub(crate) changing: Times,
    pub(crate) settled: Times,
    /// The settled ones in which a harm was in force, by each such harm.
    pub(crate) during: BTreeMap<&'static str, Times>,
}

impl Run {
    pub(crate) fn lost(&self) -> Vec<&Ending> {
        self.endings.iter().filter(|ending| ending.failed_before_first_byte()).collect()
    }

    pub(crate) fn phases(&self) -> Phases {
        let mut changes: Vec<Instant> =
            self.harms.iter().flat_map(|harm| [Some(harm.began), harm.ended]).flatten().collect();
        changes.sort();
        let mut phases = Phases::default();
        for ending in self.endings.iter().filter(|ending| ending.began < self.over) {
            let Some((took, end)) = self.took(ending) else { continue };
            let next = changes.partition_point(|change| *change <= ending.began);
            if ending.began < self.calm_until {
                phases.calm.0.push(took);
            } else if changes[..next].last().is_none_or(|last| ending.began - *last < RECOVERED_AFTER)
                || changes.get(next).is_some_and(|change| *change <= end)
            {
                phases.changing.0.push(took);
            } else {
                phases.settled.0.push(took);
                for what in self.in_force(ending.began) {
                    phases.during.entry(what).or_default().0.push(took);
                }
            }
        }
        phases
    }

    /// How long the first byte took, and when it came.
    fn took(&self, ending: &Ending) -> Option<(Duration, Instant)> {
        let took = ending.first_byte?;
        let end = ending.began + took;
        Some((took.saturating_sub(self.hitches.between(ending.began, end)), end))
    }

    fn in_force(&self, at: Instant) -> impl Iterator<Item = &'static str> {
        let now =
            self.harms.iter().filter(move |harm| harm.began <= at && harm.ended.is_none_or(|end| end > at));
        let mut what: Vec<_> = now.map(|harm| harm.what).collect();
        what.sort_unstable();
        what.dedup();
        what.into_iter()
    }

    /// Requests that took too long though all had settled, by what their workers suffered.
    pub(crate) fn slow(&self, limit: Duration) -> BTreeMap<(Vec<&'static str>, u32), usize> {
        let mut slow = BTreeMap::new();
        let changes: Vec<_> =
            self.harms.iter().flat_map(|harm| [Some(harm.began), harm.ended]).flatten().collect();
        for ending in &self.endings {
            let Some((_, end)) = self.took(ending).filter(|(took, _)| *took > limit) else { continue };
            let unsettled = |change: &Instant| *change <= end && ending.began < *change + RECOVERED_AFTER;
            if changes.iter().any(unsettled) {
                continue;
            }
            let own = self.harms.iter().filter(|harm| {
                harm.worker == ending.worker
                    && harm.began <= ending.began
                    && harm.ended.is_none_or(|end| end > ending.began)
            });
            *slow.entry((own.map(|harm| harm.what).collect(), ending.attempts)).or_default() += 1;
        }
        slow
    }
}
