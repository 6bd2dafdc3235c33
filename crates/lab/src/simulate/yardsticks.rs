//! What other caches would have hit on the same requests in the same order: one that never forgets and is shared by all
//! (no policy can do better), and one of the whole fleet's size that forgets what was used least recently.
//!
//! Both know a prompt from its arrival and an answer from its end.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use warmroute_kv::{AlreadyHashed, BlockHash, BlockPool, Blocks, KvEvents, Tokens};

use crate::traffic::Ask;

/// The two caches.
pub(super) struct Yardsticks {
    block: Tokens,
    seen: HashSet<BlockHash, BuildHasherDefault<AlreadyHashed>>,
    lru: BlockPool,
    /// Nobody listens to the pool's events.
    ignored: KvEvents,
}

impl Yardsticks {
    /// Two empty caches, before a fleet that holds `fleet` tokens.
    pub(super) fn new(fleet: Tokens, block: Tokens) -> Self {
        let lru = BlockPool::new(Blocks(fleet.0 / block.0));
        Self { block, seen: HashSet::default(), lru, ignored: KvEvents::new() }
    }

    /// A prompt arrives: the tokens of it that each of the caches holds, the infinite one first.
    pub(super) fn arrived(&mut self, ask: &Ask) -> (Tokens, Tokens) {
        let blocks = ask.prompt_blocks(self.block);
        let seen = blocks.iter().take_while(|name| self.seen.contains(name)).count();
        self.seen.extend(&blocks[seen..]);
        let held = self.lru.touch(ask.content.root, blocks, &mut self.ignored);
        self.ignored.clear();
        // The last token is computed in any case.
        let most = Tokens(ask.prompt.0.saturating_sub(1) / self.block.0 * self.block.0);
        [seen, held].map(|blocks| Blocks::of(blocks).in_tokens(self.block).min(most)).into()
    }

    /// Its answer is complete and in both caches.
    pub(super) fn answered(&mut self, ask: &Ask) {
        let blocks = ask.final_blocks(self.block);
        let prompt = ask.prompt_blocks(self.block).len();
        if blocks.len() > prompt {
            self.seen.extend(&blocks[prompt..]);
            self.lru.touch(ask.content.root, blocks, &mut self.ignored);
            self.ignored.clear();
        }
    }
}
