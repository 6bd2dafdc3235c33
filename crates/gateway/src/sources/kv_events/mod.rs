//! KV events of engines that publish them: what each worker says that it holds.
//!
//! [`listen`] follows all publishers of one worker while it is up; its [`Account`] keeps what they told and how well they were heard.
//!
//! What they tell names blocks by their tokens. The gateway names prompts by their text as yet, so the index cannot be asked by these
//! names and is not told of them: the account is shown in metrics, and routing goes by the shadow.

mod account;
mod frames;
mod hearing;
mod publisher;
#[cfg(test)]
pub(crate) mod stand_in;
#[cfg(test)]
mod tests;

use std::future::pending;
use std::sync::Arc;

use futures_util::future::join_all;
use warmroute_kv::Tokens;
use warmroute_kv::wire::Naming;

pub(crate) use self::account::{Account, Hearability, Sink, Statement};
use self::publisher::Publisher;
use super::Worker;
use crate::config::KvSource;

/// Tokens in a block where a worker does not say: vLLM's default.
const BLOCK_TOKENS: Tokens = Tokens(16);

/// Listens to a worker for as long as it is polled, with a new account each time that it comes up: it may be another process then.
pub(super) async fn listen(worker: &Worker) {
    if worker.kv_sources.is_empty() {
        return pending().await;
    }
    let mut up = worker.up.subscribe();
    loop {
        // The worker has the sender, so it cannot close.
        let _ = up.wait_for(|up| *up).await;
        let description = worker.description();
        let model = description.model_ids().first().copied().unwrap_or_default();
        let naming = Naming::new(model, description.block.unwrap_or(BLOCK_TOKENS));
        let account = Arc::new(Account::new(naming, worker.kv_sources.len(), Box::new(drop)));
        worker.kv_account.store(Some(Arc::clone(&account)));
        tokio::select! {
            () = follow(&account, &worker.kv_sources) => {}
            _ = up.wait_for(|up| !*up) => {}
        }
    }
}

/// Follows the publishers of one worker, the first being data-parallel rank 0, for as long as it is polled.
pub(crate) async fn follow(account: &Arc<Account>, sources: &[KvSource]) {
    let publishers = sources.iter().enumerate();
    let followed =
        publishers.map(|(place, source)| Publisher::new(Arc::clone(account), source.clone(), place).follow());
    join_all(followed).await;
}
