//! A conversation that grows: every request repeats what was said before, and its answer stands between it and the next.

use std::sync::Arc;
use std::time::Duration;

use warmroute_kv::Tokens;

use super::content::{Segment, Writer};
use super::{Ask, Session, Turn};

/// What was said and asked so far.
#[derive(Debug)]
pub(super) struct Dialogue {
    writer: Writer,
    turns: Vec<(Duration, Said)>,
}

/// What one turn consists of.
#[derive(Debug)]
enum Said {
    /// The conversation so far is sent, and answered.
    Here { prompt: Tokens, output: Tokens },
    /// Others are asked, and the conversation waits for them.
    Elsewhere(Vec<Ask>),
}

impl Dialogue {
    pub(super) fn new(block: Tokens) -> Self {
        Self { writer: Writer::new(block), turns: Vec::new() }
    }

    /// Tokens so far.
    pub(super) const fn length(&self) -> Tokens {
        self.writer.length()
    }

    /// A system prompt, a user's message or a tool's result is added.
    pub(super) fn hear(&mut self, message: Segment) {
        self.writer.write(message);
    }

    /// After `think`, all so far is sent, and answered by `answer`.
    pub(super) fn ask(&mut self, think: Duration, answer: Segment) {
        let said = Said::Here { prompt: self.writer.length(), output: answer.tokens };
        self.turns.push((think, said));
        self.writer.write(answer);
    }

    /// After `think`, requests of other conversations are sent at once.
    pub(super) fn delegate(&mut self, think: Duration, asks: Vec<Ask>) {
        self.turns.push((think, Said::Elsewhere(asks)));
    }

    /// The session that begins at `start`.
    pub(super) fn session(self, key: u64, start: Duration) -> Session {
        let content = self.writer.finish();
        let turn = |(think, said)| match said {
            Said::Here { prompt, output } => {
                Turn { think, asks: vec![Ask { content: Arc::clone(&content), prompt, output }] }
            }
            Said::Elsewhere(asks) => Turn { think, asks },
        };
        Session { key, start, turns: self.turns.into_iter().map(turn).collect() }
    }
}
