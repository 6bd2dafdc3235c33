//! Who speaks for a worker's cache: the worker itself while its events can be compared with prompts, are heard, and are true; else a shadow.
//!
//! Looked at again whenever the account or the comparison with reports changes, and every second for what nobody tells of. A change takes
//! the whole account along: the index then holds exactly what was heard, and follows it from there.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use warmroute_kv::Tokens;

use super::account::{Account, Hearability};
use crate::config::GatewayConfig;
use crate::sources::Worker;
use crate::sources::token_check::TokenCheck;

/// A publisher that cannot be reached for so long leaves an index that is no longer true. Shorter, and every broken connection would cost
/// what is known of the cache.
const STALE_GRACE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(1);

/// Why a worker that publishes does not speak for its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// Its model is not in token mode, so prompts are not named as its blocks are.
    TextMode,
    /// Its blocks have another number of tokens than the settings say of its model.
    BlockSize,
    /// Nothing was heard yet, or not for some time.
    Unheard,
    /// It counted the tokens of a prompt otherwise than we, so its blocks have other names.
    TokensDiffer,
    /// What it told has long been other than what it reported.
    Misleading,
}

impl Objection {
    /// For the admin API and logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TextMode => "text_mode",
            Self::BlockSize => "block_size",
            Self::Unheard => "unheard",
            Self::TokensDiffer => "tokens_differ",
            Self::Misleading => "misleading",
        }
    }

    /// What to do about it.
    const fn hint(self) -> &'static str {
        match self {
            Self::TextMode => "list its model under [[models]] to use its events",
            Self::BlockSize => "set block_tokens of its model under [[models]] to the engine's block size",
            Self::TokensDiffer => {
                "set tokenizer and chat_template of its model under [[models]] to the engine's own"
            }
            Self::Unheard => "see warmroute_worker_kv_state, kv_events and kv_replay of the worker",
            Self::Misleading => {
                "see that tokenizer and template of its model under [[models]] are the engine's, and what else its \
                                 blocks depend on (adapters, images)"
            }
        }
    }
}

/// Which of its models a worker's blocks are named for: the first that is in token mode, whose requests can be compared with them.
pub(super) fn named_for<'m>(models: &[&'m str], config: &GatewayConfig) -> Option<(&'m str, Tokens)> {
    models.iter().find_map(|model| Some((*model, config.token_block(model)?)))
}

/// Keeps the right one speaking for as long as it is polled. `block_tokens` is the size of the worker's blocks.
pub(super) async fn keep(
    worker: &Worker,
    account: &Account,
    block_tokens: Tokens,
    settings: impl Fn() -> std::sync::Arc<GatewayConfig>,
) {
    let (mut heard, mut objected) = (None, None);
    loop {
        match account.state() {
            Hearability::Live => heard = Some(Instant::now()),
            // What is asked for again is soon there.
            Hearability::Replaying if heard.is_some() => heard = Some(Instant::now()),
            _ => {}
        }
        let objection = object(worker, block_tokens, &settings(), heard);
        if objected != Some(objection) {
            account.speak(objection.is_none());
            tell(worker, account, objection);
            worker.objection.store(objection.map(std::sync::Arc::new));
            objected = Some(objection);
        }
        // Woken or not, it is looked at.
        let _ = timeout(LOOK, account.changed()).await;
    }
}

fn object(
    worker: &Worker,
    block_tokens: Tokens,
    config: &GatewayConfig,
    heard: Option<Instant>,
) -> Option<Objection> {
    let description = worker.description();
    let Some((_, block)) = named_for(&description.model_ids(), config) else {
        return Some(Objection::TextMode);
    };
    if block != block_tokens {
        return Some(Objection::BlockSize);
    }
    if heard.is_none_or(|heard| heard.elapsed() > STALE_GRACE) {
        return Some(Objection::Unheard);
    }
    if worker.token_check() == TokenCheck::Differ {
        return Some(Objection::TokensDiffer);
    }
    worker.truth.lock().fallen().then_some(Objection::Misleading)
}

fn tell(worker: &Worker, account: &Account, objection: Option<Objection>) {
    let blocks = account.statement().blocks;
    match objection {
        None => tracing::info!(worker = %worker.name, blocks, "the worker's own KV events say what it holds"),
        Some(objection @ (Objection::BlockSize | Objection::TokensDiffer | Objection::Misleading)) => {
            tracing::warn!(
                worker = %worker.name,
                reason = objection.name(),
                hint = objection.hint(),
                "the worker's KV events are not used: a shadow stands in"
            )
        }
        Some(objection) => tracing::info!(
            worker = %worker.name,
            reason = objection.name(),
            hint = objection.hint(),
            "the worker's KV events are not used: a shadow stands in"
        ),
    }
}
