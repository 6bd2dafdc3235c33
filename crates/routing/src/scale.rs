//! How many tokens a byte of request text makes, learned from what workers report.
//!
//! The ratio is that of two sums which forget slowly, so that one odd request moves it little and a change of language
//! moves it within some dozens of requests. Before the first report, English prose through a large vocabulary.

use std::ops::Range;
use std::time::Duration;

use warmroute_kv::{BlockLength, Tokens};

use crate::request::{Request, Unit};

/// About four bytes a token; JSON's own characters included.
const TOKENS_PER_BYTE: f64 = 0.25;
/// The first guess counts as much as this many bytes of evidence.
const TRUST_BYTES: f64 = 1_000.0;
/// A report older than so many others counts for less than 1/e.
const MEMORY_REPORTS: f64 = 64.0;

/// An answer's tokens, before any has been reported.
const TYPICAL_OUTPUT: f64 = 256.0;

/// A request's seconds from arrival to end, before any has ended.
const TYPICAL_STAY_S: f64 = 10.0;

/// The learned ratio, and how long answers are.
#[derive(Debug)]
pub(crate) struct Scale {
    tokens: f64,
    bytes: f64,
    output: f64,
    stay_s: f64,
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            tokens: TRUST_BYTES * TOKENS_PER_BYTE,
            bytes: TRUST_BYTES,
            output: TYPICAL_OUTPUT,
            stay_s: TYPICAL_STAY_S,
        }
    }
}

impl Scale {
    /// Takes in that a prompt of `bytes` bytes had `tokens` tokens.
    pub(crate) fn learn(&mut self, bytes: usize, tokens: Tokens) {
        if bytes == 0 || tokens == Tokens::ZERO {
            return;
        }
        let keep = 1.0 - 1.0 / MEMORY_REPORTS;
        self.tokens = keep.mul_add(self.tokens, tokens.as_f64());
        self.bytes = keep.mul_add(self.bytes, bytes as f64);
    }

    /// Takes in that an answer had `tokens` tokens, and that its request took `stay` from its arrival.
    pub(crate) fn learn_answer(&mut self, tokens: Tokens, stay: Duration) {
        self.output += (tokens.as_f64() - self.output) / MEMORY_REPORTS;
        self.stay_s += (stay.as_secs_f64() - self.stay_s) / MEMORY_REPORTS;
    }

    /// Seconds from a request's arrival to its end.
    pub(crate) const fn stay_s(&self) -> f64 {
        self.stay_s
    }

    /// Tokens that the request's answer will probably have: as many as answers lately, and no more than it may.
    pub(crate) fn output(&self, request: &Request<'_>) -> Tokens {
        let typical = rounded(self.output);
        if request.output == Tokens::ZERO { typical } else { typical.min(request.output) }
    }

    /// Tokens in one of `unit`.
    pub(crate) fn tokens_per(&self, unit: Unit) -> f64 {
        match unit {
            Unit::Tokens => 1.0,
            Unit::Bytes => self.tokens / self.bytes,
        }
    }

    /// The prompt's tokens.
    pub(crate) fn prompt(&self, request: &Request<'_>) -> Tokens {
        rounded(request.prompt as f64 * self.tokens_per(request.unit))
    }

    /// How to measure in the request's blocks.
    pub(crate) fn block(&self, request: &Request<'_>) -> Block {
        self.block_of(request.block, request.unit)
    }

    /// How to measure in blocks of this length.
    pub(crate) fn block_of(&self, length: BlockLength, unit: Unit) -> Block {
        Block { length, tokens_per: self.tokens_per(unit) }
    }
}

/// One request's blocks, by the estimate of the time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Block {
    length: BlockLength,
    tokens_per: f64,
}

impl Block {
    /// How long they are, in the request's unit.
    pub(crate) fn length(self) -> BlockLength {
        self.length
    }

    /// Tokens in so many leading ones.
    pub(crate) fn tokens(self, blocks: usize) -> Tokens {
        rounded(self.length.of(blocks) as f64 * self.tokens_per)
    }

    /// Tokens in the shortest.
    pub(crate) fn shortest(self) -> f64 {
        self.length.first() as f64 * self.tokens_per
    }

    /// Tokens in the longest of so many leading ones.
    pub(crate) fn longest(self, blocks: usize) -> f64 {
        self.length.span(blocks.saturating_sub(1)) as f64 * self.shortest()
    }

    /// How many of the shortest are as long as these together.
    pub(crate) fn spans(self, blocks: Range<usize>) -> usize {
        self.length.spans(blocks.end) - self.length.spans(blocks.start)
    }
}

fn rounded(tokens: f64) -> Tokens {
    // `as` saturates, which is what an absurd estimate deserves. It also rounds down, in one instruction where `round` is a call.
    Tokens((tokens + 0.5) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_true_ratio_within_some_dozens_of_reports() {
        let mut scale = Scale::default();
        for _ in 0..40 {
            scale.learn(3_000, Tokens(1_000));
        }
        assert!((scale.tokens_per(Unit::Bytes) - 1.0 / 3.0).abs() < 0.003, "{scale:?}");
        for _ in 0..150 {
            scale.learn(3_000, Tokens(3_000));
        }
        assert!((scale.tokens_per(Unit::Bytes) - 1.0).abs() < 0.1, "a new language takes over: {scale:?}");
    }

    #[test]
    fn tokens_are_tokens() {
        assert_eq!(Scale::default().tokens_per(Unit::Tokens).to_bits(), 1.0_f64.to_bits());
    }
}
