//! How much of a prompt each publisher holds, as Dynamo's indexer words it: in tokens, by instance, tier and data-parallel rank.

use std::collections::BTreeMap;

use serde::Serialize;
use warmroute_kv::{Blocks, Tokens};

use super::registry::{Place, TIERS};

/// What a lookup found.
pub(super) struct Matches {
    pub block: Tokens,
    /// The most blocks that anybody holds.
    pub deepest: usize,
    pub publishers: Vec<Matched>,
}

/// What one publisher holds of the prompt.
pub(super) struct Matched {
    pub place: Place,
    /// Leading blocks, by tier.
    pub blocks: [u32; TIERS.len()],
    /// Blocks that it holds in its accelerator's memory, of whatever prompt.
    pub holds: Blocks,
}

/// The answer to `POST /query`.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Answer {
    /// Tokens in the accelerator's memory, by instance and rank.
    scores: BTreeMap<String, BTreeMap<String, u32>>,
    /// How many publishers hold the first block, the first two, and so on, in any tier.
    frequencies: Vec<u32>,
    /// Blocks in the accelerator's memory, by instance and rank.
    tree_sizes: BTreeMap<String, BTreeMap<String, u32>>,
    instances: BTreeMap<String, Instance>,
}

/// What an instance holds of the prompt, in tokens; the best of its ranks.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Instance {
    longest_matched: u32,
    gpu: u32,
    /// There or in the host's memory.
    cpu: u32,
    /// There or on a disk.
    disk: u32,
    /// In any tier, by rank.
    dp: BTreeMap<String, u32>,
}

impl From<Matches> for Answer {
    fn from(matches: Matches) -> Self {
        let mut answer = Self { frequencies: vec![0; matches.deepest], ..Self::default() };
        for Matched { place: (instance, rank), blocks, holds } in matches.publishers {
            let [gpu, cpu, disk] = blocks.map(|blocks| blocks.saturating_mul(matches.block.0));
            answer.frequencies.iter_mut().take(blocks[2] as usize).for_each(|count| *count += 1);
            let (instance, rank) = (instance.to_string(), rank.to_string());
            answer.tree_sizes.entry(instance.clone()).or_default().insert(rank.clone(), holds.0);
            if gpu > 0 {
                answer.scores.entry(instance.clone()).or_default().insert(rank.clone(), gpu);
            }
            let known = answer.instances.entry(instance).or_default();
            known.gpu = known.gpu.max(gpu);
            known.cpu = known.cpu.max(cpu);
            known.disk = known.disk.max(disk);
            known.longest_matched = known.longest_matched.max(disk);
            known.dp.insert(rank, disk);
        }
        answer
    }
}
