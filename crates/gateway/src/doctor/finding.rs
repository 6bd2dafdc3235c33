//! What an examination found, and what to do about it.

use std::fmt;

use serde::Serialize;

/// What is looked at, in the order in which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The settings themselves.
    Settings,
    /// Something answers at the worker's address, and says that it is healthy.
    Reachable,
    /// It tells what it serves.
    Models,
    /// It answers a short prompt.
    Answers,
    /// Its answers tell how many tokens they took, and how many were cached.
    Usage,
    /// A prompt that was read is not read again.
    PrefixCache,
    /// Its blocks are as large as the settings say.
    BlockSize,
    /// The same prompt has the same tokens there and here.
    Tokenizer,
    /// Its KV events come.
    Events,
    /// What was missed can be asked for again.
    Replay,
    /// What its events say of a prompt is what it reports.
    Prediction,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Settings => "settings",
            Self::Reachable => "reachable",
            Self::Models => "models",
            Self::Answers => "answers",
            Self::Usage => "usage",
            Self::PrefixCache => "prefix_cache",
            Self::BlockSize => "block_size",
            Self::Tokenizer => "tokenizer",
            Self::Events => "events",
            Self::Replay => "replay",
            Self::Prediction => "prediction",
        })
    }
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and could work better.
    Note,
    /// Not as it should be: routing would be blind or wrong.
    Failed,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whose, by host and port; empty where it concerns the settings as a whole.
    pub worker: String,
    /// What was looked at.
    pub check: Check,
    /// How it stands.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
    /// What mends it.
    pub fix: Option<String>,
}

/// The findings about one worker, as they come.
#[derive(Debug)]
pub(super) struct Chart {
    worker: String,
    pub findings: Vec<Finding>,
}

impl Chart {
    pub(super) fn of(worker: impl Into<String>) -> Self {
        Self { worker: worker.into(), findings: Vec::new() }
    }

    pub(super) fn ok(&mut self, check: Check, seen: impl Into<String>) {
        self.add(check, Outcome::Ok, seen.into(), None);
    }

    pub(super) fn note(&mut self, check: Check, seen: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Outcome::Note, seen.into(), Some(fix.into()));
    }

    pub(super) fn failed(&mut self, check: Check, seen: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Outcome::Failed, seen.into(), Some(fix.into()));
    }

    fn add(&mut self, check: Check, outcome: Outcome, seen: String, fix: Option<String>) {
        self.findings.push(Finding { worker: self.worker.clone(), check, outcome, seen, fix });
    }
}
