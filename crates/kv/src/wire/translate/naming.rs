//! What an engine's blocks are called by us: a chain over what the engine itself hashes, so that equal names mean equal state.
//!
//! The model, the adapter and the tenant's salt make the root, as in [`Namespace`]; vLLM lists adapter and salt among a block's extra
//! keys too, where they are left out. What remains there, the hashes of images with their places, is chained in before the tokens of
//! its block. Tools need no part in it: the template has made tokens of them.

use crate::hash::{BlockHash, Namespace};
use crate::units::Tokens;
use crate::wire::event::{BlockKeys, Lora, Stored};

/// What names depend on beside the events: the same for every worker of a fleet, or their blocks could not be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    model: String,
    block_tokens: Tokens,
}

impl Naming {
    /// Blocks of `block_tokens` tokens of this model.
    ///
    /// # Panics
    /// If the blocks have no tokens.
    pub fn new(model: impl Into<String>, block_tokens: Tokens) -> Self {
        assert!(block_tokens > Tokens::ZERO, "blocks have tokens");
        Self { model: model.into(), block_tokens }
    }

    /// Tokens in each block.
    pub const fn block_tokens(&self) -> Tokens {
        self.block_tokens
    }

    /// The name before the first block of a prompt.
    pub(super) fn root(&self, stored: &Stored<'_>) -> BlockHash {
        // Before adapters had names on the wire they had numbers: different ones must not meet, though no request is named so.
        let number = stored.lora.id.map(|id| id.to_string());
        let lora = stored.lora.name.or(number.as_deref());
        let salt = stored.cache_salt.or_else(|| salt(stored));
        Namespace { model: &self.model, lora, salt, tools: None }.root()
    }

    /// The names of the event's blocks after `parent`.
    pub(super) fn names<'s>(
        &self,
        parent: BlockHash,
        stored: &'s Stored<'_>,
    ) -> impl Iterator<Item = BlockHash> + use<'s> {
        let mut keys = stored.extra_keys.blocks();
        let salted = if stored.parent.is_none() { salt(stored) } else { None };
        let lora = stored.lora;
        stored.tokens.chunks_exact(self.block_tokens.get()).enumerate().scan(
            parent,
            move |parent, (place, tokens)| {
                if let Some(keys) = keys.next() {
                    *parent = with_keys(*parent, keys, lora, salted.filter(|_| place == 0));
                }
                *parent = parent.next_tokens(tokens);
                Some(*parent)
            },
        )
    }
}

/// The salt, which vLLM lists with the first block of a prompt, behind the adapter's name and the images, which are lists.
fn salt<'a>(stored: &Stored<'a>) -> Option<&'a str> {
    if stored.extra_keys.is_empty() {
        return None;
    }
    let first = stored.extra_keys.blocks().next()?;
    first.keys().filter_map(|(_, text)| text).filter(|text| stored.lora.name != Some(*text)).last()
}

/// The parent's name with everything that tells this block from one of the same tokens.
fn with_keys(parent: BlockHash, keys: BlockKeys<'_>, lora: Lora<'_>, salt: Option<&str>) -> BlockHash {
    let telling = keys.keys().filter(|(_, text)| text.is_none() || (*text != lora.name && *text != salt));
    telling.fold(parent, |name, (key, _)| name.next_text(key))
}
