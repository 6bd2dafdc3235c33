//! Traffic for the simulator: who asks what and when, with prompts as names of blocks instead of text.
//!
//! The unit is the *session*: turns that follow each other, each sent some time after the answers of the one before
//! (a closed loop). A session of one turn that starts at a time of its own is an open loop's request. Two prompts share
//! exactly the leading blocks that have equal names, as in a real cache.
//!
//! Traffic is made by a [`Workload`] from a seed, or read from a [trace](mod@trace).

pub mod content;
mod dialogue;
mod dice;
pub mod trace;
mod workloads;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use warmroute_kv::timed::Work;
use warmroute_kv::{BlockHash, Tokens};

pub use self::workloads::{FleetSize, WORKLOADS, Workload, WorkloadInfo};

/// Everything that is asked in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// What it is called in reports: the workload with the options that differ from their defaults.
    pub name: String,
    /// Tokens in one block.
    pub block: Tokens,
    /// The sessions, in the order in which they start.
    pub sessions: Vec<Session>,
}

/// Turns that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What a client would send as its session's name.
    pub key: u64,
    /// When its first turn is sent, from the start of the run.
    pub start: Duration,
    /// Its turns; at least one.
    pub turns: Vec<Turn>,
}

/// What is asked at once; the next turn waits for all of its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Time from the last answer of the turn before (for the first turn: from the session's start) to this one.
    pub think: Duration,
    /// One request, or several at the same time where an agent sends out sub-agents.
    pub asks: Vec<Ask>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Where the prompt, and the answer after it, stand.
    pub content: Arc<Content>,
    /// The prompt is this many leading tokens of the content.
    pub prompt: Tokens,
    /// Tokens of the answer; those after the prompt in the content, as far as that goes.
    pub output: Tokens,
}

/// A text in blocks, which grows from one turn to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The name before the first block.
    pub root: BlockHash,
    /// The names of its whole blocks.
    pub blocks: Vec<BlockHash>,
    /// The first characters, for rules that look at nothing else: equal where the first tokens are equal.
    pub text: String,
}

impl Ask {
    /// The names of the prompt's whole blocks.
    pub fn prompt_blocks(&self, block: Tokens) -> &[BlockHash] {
        let whole = self.prompt.get() / block.get();
        &self.content.blocks[..whole.min(self.content.blocks.len())]
    }

    /// The names of the blocks that are whole once the answer is complete, as far as anybody will ask for them again.
    pub fn final_blocks(&self, block: Tokens) -> &[BlockHash] {
        let whole = (self.prompt + self.output).get() / block.get();
        &self.content.blocks[..whole.min(self.content.blocks.len())]
    }
}

impl Work for Ask {
    fn root(&self) -> BlockHash {
        self.content.root
    }

    fn blocks(&self) -> &[BlockHash] {
        &self.content.blocks
    }

    fn prompt(&self) -> Tokens {
        self.prompt
    }

    fn answer(&self) -> Tokens {
        self.output
    }
}

impl Session {
    /// An open loop's request: one turn with one request, sent at `start` whatever became of others.
    pub fn one(key: u64, start: Duration, ask: Ask) -> Self {
        Self { key, start, turns: vec![Turn { think: Duration::ZERO, asks: vec![ask] }] }
    }
}

impl Traffic {
    /// How many requests there are.
    pub fn requests(&self) -> usize {
        self.sessions.iter().flat_map(|session| &session.turns).map(|turn| turn.asks.len()).sum()
    }

    /// The same sessions, arriving `rate` times as fast. Thinking takes as long as before.
    #[must_use]
    pub fn at_rate(mut self, rate: f64) -> Self {
        for session in &mut self.sessions {
            session.start = session.start.div_f64(rate);
        }
        self
    }
}
