//! A recorded load: a trace in the Mooncake schema, one request a line, whose `hash_ids` name blocks of 512 tokens.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use warmroute_kv::BlockHash;

use crate::shapes::{Load, ROOT, Sequence, pick, queries};

const WORKERS: u32 = 8;

#[derive(Deserialize)]
struct Request {
    hash_ids: Vec<u64>,
}

/// Each request is stored on a worker drawn by chance.
pub fn load(path: &Path) -> anyhow::Result<Load> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut stores = vec![];
    for (number, line) in text.lines().enumerate() {
        let request: Request = serde_json::from_str(line)
            .with_context(|| format!("{} line {} is not a request", path.display(), number + 1))?;
        let chained = request.hash_ids.iter().scan(ROOT, |parent: &mut BlockHash, id| {
            *parent = parent.next_text(&id.to_le_bytes());
            Some(*parent)
        });
        let worker = pick("worker", number as u64, u64::from(WORKERS)) as u32;
        stores.push(Sequence { worker, blocks: chained.collect() });
    }
    stores.retain(|store| !store.blocks.is_empty());
    let queries = queries(&stores, stores.len() as u64, |store| store.blocks.len().div_ceil(2));
    Ok(Load { name: "Mooncake conversation x 8".into(), stores, queries })
}
