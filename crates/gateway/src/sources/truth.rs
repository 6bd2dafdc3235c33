//! Whether what we believe of a worker's cache is true: of every answer, what was predicted to be cached and what was reported.
//!
//! A single answer proves little. Blocks are evicted between a decision and its prompt's turn, and a prompt may find what another has just
//! left. What is compared is therefore sums that forget: of the tokens that either side named in some [`MEMORY`] answers, the share on
//! which they part. Eviction and races part some; names that are not the engine's part all of them. Beyond [`MISLEADING`], after at least
//! [`FEWEST`] answers, a worker's own word is not believed any more and a shadow stands in. Its events are followed all the same: what they
//! *would have* predicted is compared as well, and once that is within [`TRUSTED`] they are believed again.

use warmroute_kv::Tokens;

/// An answer counts for less than 1/e once so many have come after it.
const MEMORY: f64 = 64.0;
/// No verdict on fewer answers.
const FEWEST: u32 = 32;
/// A share beyond which predictions do more harm than good: most of what they name is not there, or is there unnamed.
const MISLEADING: f64 = 0.5;
/// A share within which they are good again; farther down, so that nothing goes to and fro.
const TRUSTED: f64 = 0.25;
/// So many answers without a word on cached tokens, and none with, say that the engine does not report.
const SILENT: u32 = 8;

/// What is thought of predictions for a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Honesty {
    /// Too few answers yet.
    #[default]
    Unknown,
    /// The worker does not say what it had cached.
    Unreported,
    /// Predictions are near enough to reports.
    Calibrated,
    /// They part for long.
    Misleading,
}

impl Honesty {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Unknown, Self::Unreported, Self::Calibrated, Self::Misleading];

    /// For labels, logs and the admin API.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unreported => "unreported",
            Self::Calibrated => "calibrated",
            Self::Misleading => "misleading",
        }
    }
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Tokens predicted to be cached.
    pub predicted: Tokens,
    /// Whether the worker's events said so.
    pub told: bool,
    /// What they would have said, where they are not believed.
    pub rehearsed: Option<Tokens>,
    /// Tokens reported to have been cached.
    pub reported: Option<Tokens>,
}

/// What an answer has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// Events are not believed any more: so many tokens were predicted of late, and so many reported.
    Fell {
        /// Tokens.
        predicted: f64,
        /// Tokens.
        reported: f64,
    },
    /// They are again.
    Rose,
    /// It is the first time that the worker is seen not to report.
    Unreported,
}

/// The account of one worker since it last came up.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    told: Ledger,
    rehearsed: Ledger,
    guessed: Ledger,
    fallen: bool,
    reports: u32,
    silences: u32,
}

/// Sums of answers that forget.
#[derive(Debug, Default)]
struct Ledger {
    predicted: f64,
    reported: f64,
    apart: f64,
    either: f64,
    answers: u32,
}

impl Ledger {
    fn record(&mut self, predicted: Tokens, reported: Tokens) {
        if predicted == Tokens::ZERO && reported == Tokens::ZERO {
            // Right, and no evidence: an index that knows nothing says so of every prompt that is new.
            return;
        }
        let keep = 1.0 - 1.0 / MEMORY;
        let (predicted, reported) = (predicted.as_f64(), reported.as_f64());
        self.predicted = keep.mul_add(self.predicted, predicted);
        self.reported = keep.mul_add(self.reported, reported);
        self.apart = keep.mul_add(self.apart, (predicted - reported).abs());
        self.either = keep.mul_add(self.either, predicted.max(reported));
        self.answers = self.answers.saturating_add(1);
    }

    /// The share of tokens that only one side named, once there is enough to go by.
    fn gap(&self) -> Option<f64> {
        (self.answers >= FEWEST).then(|| self.apart / self.either)
    }
}

impl Truth {
    /// Takes in an answer.
    pub(crate) fn record(&mut self, answer: &Answer) -> Option<Change> {
        let Some(reported) = answer.reported else {
            self.silences = self.silences.saturating_add(1);
            return (self.reports == 0 && self.silences == SILENT).then_some(Change::Unreported);
        };
        self.reports = self.reports.saturating_add(1);
        if let Some(rehearsed) = answer.rehearsed {
            self.rehearsed.record(rehearsed, reported);
        }
        let ledger = if answer.told { &mut self.told } else { &mut self.guessed };
        ledger.record(answer.predicted, reported);
        self.judge()
    }

    fn judge(&mut self) -> Option<Change> {
        if self.fallen {
            self.rehearsed.gap().filter(|gap| *gap < TRUSTED)?;
            (self.fallen, self.told) = (false, Ledger::default());
            return Some(Change::Rose);
        }
        self.told.gap().filter(|gap| *gap > MISLEADING)?;
        (self.fallen, self.rehearsed) = (true, Ledger::default());
        let Ledger { predicted, reported, .. } = self.told;
        Some(Change::Fell { predicted, reported })
    }

    /// Whether its events were found to mislead, and have not been right since.
    pub(crate) fn fallen(&self) -> bool {
        self.fallen
    }

    /// What is thought of what the worker's events say, where they are or were believed, and else of its shadow.
    pub(crate) fn honesty(&self) -> Honesty {
        match self.gap() {
            _ if self.fallen => Honesty::Misleading,
            Some(gap) if gap > MISLEADING => Honesty::Misleading,
            Some(_) => Honesty::Calibrated,
            None if self.reports == 0 && self.silences >= SILENT => Honesty::Unreported,
            None => Honesty::Unknown,
        }
    }

    /// The share of tokens, of those predicted or reported of late, on which the two part.
    pub(crate) fn gap(&self) -> Option<f64> {
        if self.fallen {
            self.rehearsed.gap().or(self.told.gap())
        } else {
            self.told.gap().or(self.guessed.gap())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(predicted: u32, reported: u32) -> Answer {
        Answer { predicted: Tokens(predicted), told: true, rehearsed: None, reported: Some(Tokens(reported)) }
    }

    fn recorded(truth: &mut Truth, times: u32, answer: Answer) -> Vec<Change> {
        (0..times).filter_map(|_| truth.record(&answer)).collect()
    }

    #[test]
    fn what_is_mostly_right_is_calibrated_though_single_answers_part() {
        let mut truth = Truth::default();
        for number in 0..200 {
            let answer = if number % 4 == 0 { told(1_024, 0) } else { told(1_024, 1_024) };
            assert_eq!(truth.record(&answer), None);
        }
        assert_eq!(truth.honesty(), Honesty::Calibrated);
        assert!((0.15..0.35).contains(&truth.gap().unwrap()), "{:?}", truth.gap());
    }

    #[test]
    fn what_is_wrong_for_long_is_not_believed_until_it_would_have_been_right_for_long() {
        for wrong in [told(1_024, 0), told(0, 1_024), told(16, 1_024)] {
            let mut truth = Truth::default();
            assert_eq!(recorded(&mut truth, FEWEST - 1, wrong), []);
            assert_eq!(truth.honesty(), Honesty::Unknown);
            assert!(matches!(truth.record(&wrong), Some(Change::Fell { .. })));
            assert_eq!((truth.honesty(), truth.fallen()), (Honesty::Misleading, true));
            let shadow = Answer { told: false, rehearsed: Some(Tokens(0)), ..told(512, 512) };
            assert_eq!(
                recorded(&mut truth, 100, shadow),
                [],
                "the shadow is right, and that is not the point"
            );
            assert_eq!(truth.honesty(), Honesty::Misleading);
            let mended = Answer { rehearsed: Some(Tokens(512)), ..shadow };
            assert_eq!(recorded(&mut truth, 200, mended), [Change::Rose]);
            assert!(!truth.fallen());
            assert_eq!(recorded(&mut truth, 100, told(512, 512)), []);
            assert_eq!(truth.honesty(), Honesty::Calibrated);
        }
    }

    #[test]
    fn prompts_of_which_nothing_is_cached_prove_nothing() {
        let mut truth = Truth::default();
        assert_eq!(recorded(&mut truth, 1_000, told(0, 0)), []);
        assert_eq!((truth.honesty(), truth.gap()), (Honesty::Unknown, None));
    }

    #[test]
    fn an_engine_that_reports_nothing_is_told_of_once_and_neither_believed_nor_doubted() {
        let mut truth = Truth::default();
        let silent = Answer { reported: None, ..told(100, 0) };
        assert_eq!(recorded(&mut truth, 100, silent), [Change::Unreported]);
        assert_eq!((truth.honesty(), truth.fallen()), (Honesty::Unreported, false));
        assert_eq!(recorded(&mut truth, FEWEST, told(100, 100)), []);
        assert_eq!(truth.honesty(), Honesty::Calibrated);
    }
}
