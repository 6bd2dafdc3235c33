//! What an emulated worker tells the world of blocks that come in: a prompt's own tokens, and for answers, which have none, pretended ones.
//!
//! The pool of a stand-in keeps names only, so the tokens are taken from the prompts just before their blocks come in, and only if anybody
//! is to be told of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use warmroute_kv::timed::Work;
use warmroute_kv::{BlockHash, BlockPool, TokenId};

use super::look::{BLOCK, Prompt};
use crate::publish::Told;

/// Blocks that are about to come in.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    tokens: HashMap<BlockHash, Vec<TokenId>>,
    salts: HashMap<BlockHash, Box<str>>,
}

impl Fresh {
    /// These blocks of this prompt and its answer.
    pub(super) fn add(&mut self, prompt: &Prompt, places: Range<usize>) {
        if let (0, Some(salt)) = (places.start, prompt.salt()) {
            self.salts.insert(prompt.root(), salt.into());
        }
        let own = places.start..places.end.min(prompt.blocks().len());
        self.tokens.extend(own.map(|place| (prompt.blocks()[place], prompt.block(place))));
    }
}

/// The same, and the cache that they came into.
pub(super) struct Known<'a> {
    pub(super) fresh: &'a Fresh,
    pub(super) pool: &'a BlockPool,
}

impl Told for Known<'_> {
    fn tokens(&self, block: BlockHash) -> Cow<'_, [TokenId]> {
        match self.fresh.tokens.get(&block) {
            Some(tokens) => tokens.into(),
            None => pretended(block).into(),
        }
    }

    fn holds(&self, name: BlockHash) -> bool {
        self.pool.content(name).is_some()
    }

    fn salt(&self, root: BlockHash) -> Option<&str> {
        self.fresh.salts.get(&root).map(|salt| &**salt)
    }
}

/// Tokens that no other block has.
fn pretended(block: BlockHash) -> Vec<TokenId> {
    // As words of an answer are: each follows from the name and its place. A token is a u32, so the upper half goes.
    (0..BLOCK.0).map(|place| block.next_text(&place.to_le_bytes()).0 as TokenId).collect()
}
