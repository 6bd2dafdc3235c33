//! From what a pool did to a message as vLLM words it: with the tokens of every block that came in, which only the engine knows.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use warmroute_kv::wire::{EngineEvent, EngineHash, ExtraKeys, Form, Home, Lora, Removed, Stored, encode};
use warmroute_kv::{BlockHash, KvEvent, KvEvents, TokenId, Tokens};

/// We have no data-parallel ranks: there is one, and vLLM calls the first 0.
const RANK: u32 = 0;

/// What pool events do not say, told by the engine right after they happened.
pub(crate) trait Told {
    /// The tokens of a block that has just come in.
    fn tokens(&self, block: BlockHash) -> Cow<'_, [TokenId]>;
    /// Whether the cache holds a block of this name; a block's parent that is none is the root of its prompt.
    fn holds(&self, name: BlockHash) -> bool;
    /// The salt of the prompts with this root.
    fn salt(&self, root: BlockHash) -> Option<&str>;
}

/// An event's parts, to be borrowed from.
enum Worded {
    Stored { blocks: Vec<EngineHash>, parent: Option<EngineHash>, tokens: Vec<TokenId>, keys: Vec<u8> },
    Removed(Vec<EngineHash>),
    Cleared,
}

/// One message of all events.
pub(super) fn message(form: Form, block_tokens: Tokens, events: &KvEvents, told: &impl Told) -> Vec<u8> {
    let worded: Vec<Worded> = events.iter().map(|event| word(event, told)).collect();
    let engine: Vec<EngineEvent<'_>> = worded.iter().map(|worded| worded.event(block_tokens)).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut message = Vec::new();
    encode(form, now, &engine, Some(RANK), &mut message);
    message
}

fn word(event: &KvEvent, told: &impl Told) -> Worded {
    let hashes = |blocks: &[BlockHash]| blocks.iter().map(|block| EngineHash(block.0)).collect();
    match event {
        KvEvent::Stored { parent, blocks } => {
            let tokens = blocks.iter().flat_map(|block| told.tokens(*block).into_owned()).collect();
            let known = told.holds(*parent).then_some(EngineHash(parent.0));
            let mut keys = Vec::new();
            if let (None, Some(salt)) = (known, told.salt(*parent)) {
                ExtraKeys::write_salt(salt, blocks.len(), &mut keys);
            }
            Worded::Stored { blocks: hashes(blocks), parent: known, tokens, keys }
        }
        KvEvent::Removed { blocks } => Worded::Removed(hashes(blocks)),
        KvEvent::Cleared => Worded::Cleared,
    }
}

impl Worded {
    fn event(&self, block_tokens: Tokens) -> EngineEvent<'_> {
        match self {
            Self::Stored { blocks, parent, tokens, keys } => EngineEvent::Stored(Stored {
                blocks,
                parent: *parent,
                tokens,
                block_tokens,
                home: Home::default(),
                attention: None,
                lora: Lora::default(),
                cache_salt: None,
                extra_keys: ExtraKeys::written(keys),
            }),
            Self::Removed(blocks) => EngineEvent::Removed(Removed { blocks, home: Home::default() }),
            Self::Cleared => EngineEvent::Cleared,
        }
    }
}
