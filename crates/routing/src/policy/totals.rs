//! What all candidates come to together, counted while they are looked at one by one anyway.

use warmroute_kv::Tokens;

use super::Candidate;

/// Sums over the candidates of one decision, and how far their overlaps reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Totals {
    pub(crate) unread: u64,
    pub(crate) in_flight: u64,
    pub(crate) recent: f64,
    pub(crate) fill: f64,
    /// Tokens that their caches hold, as far as is known.
    pub(crate) capacity: u64,
    /// The least overlap of all; the largest there is where there is nobody.
    pub(crate) common: Tokens,
    /// The largest overlap of all.
    pub(crate) most: Tokens,
}

impl Totals {
    /// Of nobody.
    pub(crate) const NONE: Self = Self {
        unread: 0,
        in_flight: 0,
        recent: 0.0,
        fill: 0.0,
        capacity: 0,
        common: Tokens(u32::MAX),
        most: Tokens::ZERO,
    };

    /// Of all of them.
    pub(crate) fn of(candidates: &[Candidate]) -> Self {
        let mut totals = Self::NONE;
        candidates.iter().for_each(|candidate| totals.add(candidate));
        totals
    }

    pub(crate) fn add(&mut self, candidate: &Candidate) {
        self.unread += u64::from(candidate.unread);
        self.in_flight += u64::from(candidate.in_flight);
        self.recent += candidate.recent;
        self.fill += candidate.fill;
        self.capacity += u64::from(candidate.capacity.unwrap_or_default().0);
        self.common = self.common.min(candidate.overlap);
        self.most = self.most.max(candidate.overlap);
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self::NONE
    }
}
