//! KV events of engines that publish them: what each worker says that it holds.
//!
//! [`listen`] follows all publishers of one worker while it is up; its [`Account`] keeps what they told and how well they were heard.
//!
//! What they tell names blocks by their tokens, and so the index can be told of them only where prompts are measured in tokens too:
//! [`speaker`] says when a worker speaks for its cache itself.

mod account;
#[cfg(test)]
pub(crate) mod engine;
#[cfg(test)]
mod fleet_tests;
mod frames;
mod hearing;
mod nearer;
mod pieces;
mod publisher;
mod speaker;
#[cfg(test)]
mod tests;

use std::future::pending;
use std::sync::Arc;

use futures_util::future::join_all;
use warmroute_kv::Tokens;
use warmroute_kv::wire::Naming;
use warmroute_routing::{Event, Publishes, WorkerId};

use self::account::Sink;
pub(crate) use self::account::{Account, Hearability, Statement, Word};
pub(crate) use self::nearer::Aside;
pub(crate) use self::pieces::pieces;
use self::publisher::Publisher;
pub(crate) use self::speaker::Objection;
use self::speaker::named_for;
use super::Worker;
use super::truth::Truth;
use super::weights::Weights;
use crate::config::{KvSource, Live};
use crate::core::Core;

/// Tokens in a block where a worker does not say: vLLM's default.
const BLOCK_TOKENS: Tokens = Tokens(16);

/// Listens to a worker for as long as it is polled, with a new account each time that it comes up: it may be another process then, and the
/// router has a shadow of it again.
pub(super) async fn listen(worker: &Worker, core: &Arc<Core>, config: &Live) {
    if worker.kv_sources.is_empty() {
        return pending().await;
    }
    let mut up = worker.up.subscribe();
    loop {
        // The worker has the sender, so it cannot close.
        let _ = up.wait_for(|up| *up).await;
        let description = worker.description();
        let models = description.model_ids();
        let block_tokens = description.block.unwrap_or(BLOCK_TOKENS);
        let model = named_for(&models, &config.now()).map(|(model, _)| model).or(models.first().copied());
        let model = model.unwrap_or_default();
        let weights = Weights::behind(model, &description.models);
        let naming = Naming::new(weights.as_ref().map_or(model, |weights| &weights.base), block_tokens);
        let account = Arc::new(Account::new(naming, worker.kv_sources.len(), told_to(core, worker.id)));
        worker.kv_account.store(Some(Arc::clone(&account)));
        *worker.truth.lock() = Truth::default();
        tokio::select! {
            () = follow(&account, &worker.kv_sources) => {}
            () = speaker::keep(worker, &account, block_tokens, || config.now()) => {}
            // A worker that went down and came up again meanwhile was down.
            _ = up.changed() => {}
        }
        // The router knows already that it is gone, or has joined anew.
        account.speak(false);
        worker.objection.store(Some(Arc::new(Objection::Unheard)));
    }
}

/// What an account says goes to the router.
fn told_to(core: &Arc<Core>, worker: WorkerId) -> Sink {
    let core = Arc::clone(core);
    Box::new(move |word| match word {
        Word::Begin(held) => {
            core.observe(Event::Told { worker, publishes: Publishes::Events });
            core.tell(worker, held);
        }
        Word::Changes(changes) => core.tell(worker, changes),
        Word::End => core.observe(Event::Told { worker, publishes: Publishes::Nothing }),
    })
}

/// Follows the publishers of one worker, the first being data-parallel rank 0, for as long as it is polled.
pub(crate) async fn follow(account: &Arc<Account>, sources: &[KvSource]) {
    let publishers = sources.iter().enumerate();
    let followed =
        publishers.map(|(place, source)| Publisher::new(Arc::clone(account), source.clone(), place).follow());
    join_all(followed).await;
}
