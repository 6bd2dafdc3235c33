//! A worker's answers against what was predicted: kept by its [`Truth`], told to people and to whoever decides who speaks for its cache.

use warmroute_kv::Tokens;
use warmroute_routing::Request;

use super::Worker;
use super::kv_events::{Hearability, Objection};
use super::truth::{Answer, Change, Honesty};

/// How far a worker's cache is known, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CacheView {
    /// Why a shadow stands in for its events, if one does.
    pub objection: Option<Objection>,
    /// Whether it says itself what it holds.
    pub exact: bool,
    /// What is thought of predictions.
    pub honesty: Honesty,
    /// The share of tokens, predicted or reported of late, on which the two part.
    pub gap: Option<f64>,
}

impl Worker {
    /// What its events would have predicted of a request, where they were found to mislead.
    pub(crate) fn rehearse(&self, request: &Request<'_>) -> Option<Tokens> {
        // Hardly ever is there anything to rehearse, and then this is one load.
        if self.objection.load().as_deref() != Some(&Objection::Misleading) {
            return None;
        }
        let (most, account) = (request.most_reusable()?, self.kv_account()?);
        Some(Tokens::of(request.block.of(account.leading(request.blocks))).min(most))
    }

    /// Whether it speaks for its cache and cannot be heard: what it says is late then, which shows elsewhere, and not untrue.
    pub(crate) fn is_late(&self) -> bool {
        self.kv_account().is_some_and(|account| account.speaks() && account.state() != Hearability::Live)
    }

    /// It has answered a request.
    pub(crate) fn answered(&self, answer: &Answer) {
        if answer.told && self.is_late() {
            return;
        }
        let change = self.truth.lock().record(answer);
        match change {
            None => return,
            Some(Change::Unreported) => tracing::warn!(
                worker = %self.name,
                hint = "vLLM: --enable-prompt-tokens-details; for streams, include_usage in the settings",
                "the worker does not report cached tokens: whether predictions are true cannot be checked"
            ),
            Some(Change::Fell { predicted, reported }) => tracing::warn!(
                worker = %self.name,
                predicted_tokens = predicted.round(),
                reported_tokens = reported.round(),
                hint = "if fewer are reported, the engine reuses less than it tells; if more, its blocks are not named as ours: see tokenizer, \
                        template and block_tokens of its model under [[models]]",
                "the worker's KV events say other than it reports"
            ),
            Some(Change::Rose) => {
                tracing::info!(worker = %self.name, "the worker's KV events are true again")
            }
        }
        if let Some(account) = self.kv_account() {
            account.look_again();
        }
    }

    /// How far its cache is known.
    pub(crate) fn cache_view(&self) -> CacheView {
        let objection = self.objection.load().as_deref().copied();
        let spoken = self.kv_account().is_some_and(|account| account.speaks());
        let truth = self.truth.lock();
        CacheView { objection, exact: spoken, honesty: truth.honesty(), gap: truth.gap() }
    }
}
