//! How each address among the peers is, for the admin API and the log. A line is written when that changes, and not at every attempt.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::follow::End;
use crate::config::WorkerUrl;

/// How an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is known yet.
    New,
    /// A gateway is heard there.
    Heard {
        /// Who.
        gateway: u64,
        /// Why its prompts say nothing here, if they do not.
        difference: Option<String>,
    },
    /// It is this gateway's own.
    Own,
    /// The gateway there is heard at another address.
    Duplicate,
    /// Nobody is heard there.
    Gone {
        /// Why.
        why: String,
    },
}

impl State {
    const fn name(&self) -> &'static str {
        match self {
            Self::New => "unknown",
            Self::Heard { .. } => "alive",
            Self::Own => "self",
            Self::Duplicate => "duplicate",
            Self::Gone { .. } => "gone",
        }
    }
}

/// All addresses.
#[derive(Debug, Default)]
pub(super) struct Shown(Mutex<BTreeMap<String, State>>);

impl Shown {
    pub(super) fn add(&self, url: &WorkerUrl) {
        self.0.lock().entry(url.to_string()).or_insert(State::New);
    }

    pub(super) fn remove(&self, url: &WorkerUrl) {
        self.0.lock().remove(&url.to_string());
    }

    /// It is so from now on.
    pub(super) fn set(&self, url: &WorkerUrl, state: State) {
        // One that is followed no more has no state.
        let before =
            self.0.lock().get_mut(&url.to_string()).map(|before| std::mem::replace(before, state.clone()));
        if let Some(before) = before.filter(|before| *before != state) {
            tell(url, &before, &state);
        }
    }

    /// Its feed could not be opened or has ended.
    pub(super) fn ended(&self, url: &WorkerUrl, end: &End) {
        self.set(
            url,
            match end {
                End::Own => State::Own,
                End::Heard => State::Duplicate,
                end => State::Gone { why: end.to_string() },
            },
        );
    }

    /// For the admin API.
    pub(super) fn json(&self) -> Vec<Value> {
        let show = |(url, state): (&String, &State)| {
            let mut shown = json!({ "url": url, "state": state.name() });
            match state {
                State::Heard { gateway, difference } => {
                    shown["gateway"] = format!("{gateway:016x}").into();
                    shown["prompts"] = if difference.is_none() { "used" } else { "unused" }.into();
                    shown["reason"] = difference.clone().into();
                }
                State::Gone { why } => shown["reason"] = why.as_str().into(),
                State::New | State::Own | State::Duplicate => {}
            }
            shown
        };
        self.0.lock().iter().map(show).collect()
    }
}

fn tell(peer: &WorkerUrl, before: &State, now: &State) {
    match now {
        State::Heard { gateway, difference } => {
            tracing::info!(%peer, gateway = format!("{gateway:016x}"), "another gateway is heard");
            if let Some(difference) = difference {
                tracing::warn!(
                    %peer,
                    difference,
                    hint = "give all gateways the same text_chunk_bytes, [[models]] and [[aliases]]",
                    "the other gateway names prompts otherwise: its load counts, its prompts are not used"
                );
            }
        }
        State::Own => tracing::info!(%peer, "this gateway is among its own peers, and passes itself over"),
        State::Duplicate => tracing::info!(%peer, "the gateway there is heard at another address already"),
        State::Gone { why } if matches!(before, State::Heard { .. }) => {
            tracing::warn!(%peer, why, "the other gateway is gone: what it had under way counts no more");
        }
        State::Gone { why } => tracing::warn!(%peer, why, "the other gateway is not heard"),
        State::New => {}
    }
}
