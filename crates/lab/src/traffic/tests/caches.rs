//! Two plain caches over whole prompts, in the order in which sessions start.

use std::collections::{BTreeMap, HashMap};

use warmroute_kv::{BlockHash, Tokens};

use crate::traffic::{Ask, Traffic};

/// Every request, session after session.
pub(super) fn asks(traffic: &Traffic) -> impl Iterator<Item = &Ask> {
    traffic.sessions.iter().flat_map(|session| &session.turns).flat_map(|turn| &turn.asks)
}

pub(super) fn mean(values: impl Iterator<Item = Tokens>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value.as_f64(), count + 1));
    sum / f64::from(count)
}

/// The share of prompt tokens that one cache of `capacity` tokens hits, least recently used out first. It keeps prompts, not
/// answers.
pub(super) fn hit_rate(traffic: &Traffic, capacity: usize) -> f64 {
    let room = capacity / traffic.block.get();
    let mut last_use: HashMap<BlockHash, u64> = HashMap::new();
    let mut order: BTreeMap<u64, BlockHash> = BTreeMap::new();
    let (mut clock, mut hit, mut all) = (0, 0, 0);
    for ask in asks(traffic) {
        let blocks = ask.prompt_blocks(traffic.block);
        hit += traffic.block.get() * blocks.iter().take_while(|name| last_use.contains_key(name)).count();
        all += ask.prompt.get();
        for name in blocks.iter().rev() {
            clock += 1;
            if let Some(before) = last_use.insert(*name, clock) {
                order.remove(&before);
            }
            order.insert(clock, *name);
        }
        while last_use.len() > room {
            let (_, oldest) = order.pop_first().unwrap();
            last_use.remove(&oldest);
        }
    }
    hit as f64 / all as f64
}

/// The share of blocks that occur in one prompt only.
pub(super) fn touched_once(traffic: &Traffic) -> f64 {
    let mut touches: HashMap<BlockHash, u32> = HashMap::new();
    for name in asks(traffic).flat_map(|ask| ask.prompt_blocks(traffic.block)) {
        *touches.entry(*name).or_default() += 1;
    }
    touches.values().filter(|count| **count == 1).count() as f64 / touches.len() as f64
}
