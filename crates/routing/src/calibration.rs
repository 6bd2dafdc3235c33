//! What a shadow's guesses have to be multiplied with to be right on the whole.
//!
//! A shadow counts whole blocks and knows nothing of answers, while engines may reuse the last tokens of a block that is not full, and
//! the answer that comes back as part of the next prompt. So its guesses lean to one side, by a share that is about the same for all requests of a
//! worker: the ratio of two sums that forget slowly. Only what is *said* of a request is corrected. Decisions compare workers
//! by what their shadows hold, and a shadow's size is learned from what it guessed itself.

use warmroute_kv::Tokens;

/// That guesses are right counts as much as this many tokens of evidence.
const TRUST_TOKENS: f64 = 1_000.0;
/// A report older than so many others counts for less than 1/e.
const MEMORY_REPORTS: f64 = 64.0;
/// A guess that is off by more is wrong for another reason than these.
const FARTHEST: f64 = 2.0;

/// What was guessed and reported lately.
#[derive(Debug)]
pub(crate) struct Calibration {
    guessed: f64,
    reported: f64,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { guessed: TRUST_TOKENS, reported: TRUST_TOKENS }
    }
}

impl Calibration {
    /// Takes in that so many tokens were guessed to be cached, and so many were.
    pub(crate) fn learn(&mut self, guessed: Tokens, reported: Tokens) {
        if guessed == Tokens::ZERO && reported == Tokens::ZERO {
            return; // every guess is right of a prompt that is new
        }
        let keep = 1.0 - 1.0 / MEMORY_REPORTS;
        self.guessed = keep.mul_add(self.guessed, guessed.as_f64());
        self.reported = keep.mul_add(self.reported, reported.as_f64());
    }

    /// What is to be expected where so much is guessed.
    pub(crate) fn correct(&self, guess: Tokens) -> Tokens {
        let ratio = (self.reported / self.guessed.max(1.0)).clamp(FARTHEST.recip(), FARTHEST);
        Tokens((guess.as_f64() * ratio).round() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_that_lean_to_one_side_are_set_right_within_a_hundred_answers() {
        for (guessed, reported) in [(160, 178), (160, 150), (64, 64)] {
            let mut calibration = Calibration::default();
            (0..100).for_each(|_| calibration.learn(Tokens(guessed), Tokens(reported)));
            let corrected = calibration.correct(Tokens(guessed)).as_f64();
            assert!((corrected / f64::from(reported) - 1.0).abs() < 0.03, "{guessed}: {corrected}");
        }
    }

    #[test]
    fn a_few_answers_change_little_and_no_answer_changes_all() {
        let mut calibration = Calibration::default();
        assert_eq!(calibration.correct(Tokens(1_600)), Tokens(1_600));
        calibration.learn(Tokens(160), Tokens::ZERO);
        assert!(calibration.correct(Tokens(1_000)) > Tokens(800));
        (0..1_000).for_each(|_| calibration.learn(Tokens(160), Tokens::ZERO));
        assert_eq!(calibration.correct(Tokens(1_000)), Tokens(500));
        (0..1_000).for_each(|_| calibration.learn(Tokens::ZERO, Tokens(160)));
        assert_eq!(calibration.correct(Tokens(1_000)), Tokens(2_000));
        assert_eq!(calibration.correct(Tokens::ZERO), Tokens::ZERO);
    }
}
