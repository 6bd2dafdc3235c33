//! One answer as it grows: chooses each token, turns it into text, and knows when to end.

use warmroute_kv::TokenId;
use warmroute_openai::request::Sampling;
use warmroute_openai::response::FinishReason;

use super::inference::Inference;
use super::sampling::Sampler;
use super::stop::{Scan, StopScanner};

/// What a request asks of its answer.
#[derive(Clone, Debug)]
pub struct AnswerOptions {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Where the draws begin.
    pub seed: u64,
    /// Strings that end the answer and are not part of it.
    pub stops: Vec<String>,
    /// The answer ends after this many tokens, at least one.
    pub max_tokens: usize,
    /// Go on over end-of-text tokens (benchmarks want answers of a given length).
    pub ignore_eos: bool,
}

/// What one more token brought.
#[derive(Debug)]
pub(super) struct Advance {
    /// The token chosen.
    pub(super) token: TokenId,
    /// Text that is certain by now; often empty in the middle of a character or of a possible stop string.
    pub(super) text: String,
    /// Set with the last token.
    pub(super) finish: Option<FinishReason>,
}

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Answer<T> {
    sampler: Sampler,
    text: T,
    scanner: StopScanner,
    tokens: usize,
    max_tokens: usize,
    ignore_eos: bool,
}

impl<T: Default> Answer<T> {
    /// An answer without tokens yet.
    pub(super) fn new(options: AnswerOptions) -> Self {
        Self {
            sampler: Sampler::new(options.sampling, options.seed),
            text: T::default(),
            scanner: StopScanner::new(options.stops),
            tokens: 0,
            max_tokens: options.max_tokens,
            ignore_eos: options.ignore_eos,
        }
    }

    /// Number of tokens so far.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Chooses the next token from a row of logits.
    pub(super) fn advance(&mut self, logits: &[f32], model: &impl Inference<Text = T>) -> Advance {
        let token = self.sampler.pick(logits);
        self.tokens += 1;
        if model.ends(token) && !self.ignore_eos {
            return Advance { token, text: self.close(model), finish: Some(FinishReason::Stop) };
        }
        match self.scanner.push(&model.text(&mut self.text, token)) {
            Scan::Stopped(text) => Advance { token, text, finish: Some(FinishReason::Stop) },
            Scan::Open(text) if self.tokens >= self.max_tokens => {
                Advance { token, text: text + &self.close(model), finish: Some(FinishReason::Length) }
            }
            Scan::Open(text) => Advance { token, text, finish: None },
        }
    }

    /// The text still held by the decoder and by the scanner; the decoder's part may still complete a stop string.
    fn close(&mut self, model: &impl Inference<Text = T>) -> String {
        match self.scanner.push(&model.last_text(&mut self.text)) {
            Scan::Stopped(text) => text,
            Scan::Open(text) => text + &self.scanner.finish(),
        }
    }
}
