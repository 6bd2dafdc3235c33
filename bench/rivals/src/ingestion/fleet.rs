//! What publishers send: vLLM's messages of engines whose caches fill with prompts and lose them again, in the order of their coming.
//!
//! It is the life that `crates/routing/benches/ingestion.rs` leads, for any number of publishers at once: prompts of 64 blocks of 16 tokens
//! come in by eight blocks an event, and leave block by block from their end, four events a message. A publisher holds so many prompts, then
//! one leaves for each that comes. Every other prompt is the same for all publishers, and equal blocks have equal hashes at all of them, as
//! dynamo-kv-router's trees expect.

use warmroute_kv::wire::{EngineEvent, EngineHash, ExtraKeys, Form, Home, Lora, Removed, Stored, encode};
use warmroute_kv::{TokenId, Tokens};

pub const BLOCK_TOKENS: usize = 16;
pub const PROMPT_BLOCKS: usize = 64;
const EVENT_BLOCKS: usize = 8;
const MESSAGE_EVENTS: usize = 4;

/// Publishers and what each of them lives through.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    pub form: Form,
    pub publishers: u32,
    /// That come in at each publisher.
    pub prompts: u32,
    /// That stay there at most.
    pub held: u32,
}

/// One message and whose it is.
pub struct Message {
    pub publisher: u32,
    pub payload: Vec<u8>,
}

/// Everything that is sent.
pub struct Sent {
    /// Until the last prompt has come: all that is held at most is held then.
    pub filling: Vec<Message>,
    /// Until nothing is held any more.
    pub emptying: Vec<Message>,
}

impl Fleet {
    pub fn name(&self) -> String {
        let form = if self.form == Form::Map { "map" } else { "list" };
        match self.publishers {
            1 => format!("1 publisher, {form} form"),
            many => format!("{many} publishers at once, {form} form"),
        }
    }

    /// Blocks that messages tell of: each comes and leaves.
    pub fn told(&self) -> u64 {
        2 * u64::from(self.publishers) * u64::from(self.prompts) * PROMPT_BLOCKS as u64
    }

    /// Pairs of publisher and block that are held at most.
    pub fn held_blocks(&self) -> u64 {
        u64::from(self.publishers) * u64::from(self.held) * PROMPT_BLOCKS as u64
    }

    /// The messages, one of each publisher in turn.
    pub fn sent(&self) -> Sent {
        let mut filling = vec![];
        for place in 0..self.prompts {
            let turns = (0..self.publishers).map(|publisher| {
                let gone = place.checked_sub(self.held).map(|gone| self.prompt(publisher, gone));
                let mut messages = self.coming(self.prompt(publisher, place));
                messages.extend(gone.into_iter().flat_map(|gone| self.leaving(gone)));
                messages
            });
            filling.extend(interleaved(turns.collect()));
        }
        let mut emptying = vec![];
        for place in self.prompts - self.held..self.prompts {
            let turns =
                (0..self.publishers).map(|publisher| self.leaving(self.prompt(publisher, place))).collect();
            emptying.extend(interleaved(turns));
        }
        Sent { filling, emptying }
    }

    /// The number of the prompt that comes to a publisher in this place.
    pub fn prompt(&self, publisher: u32, place: u32) -> u32 {
        if place.is_multiple_of(2) { place } else { (publisher + 1) * self.prompts + place }
    }

    fn coming(&self, prompt: u32) -> Vec<Vec<u8>> {
        let (hashes, tokens) = (hashes(prompt), tokens(prompt));
        let stored = |(event, blocks): (usize, _)| {
            let first = event * EVENT_BLOCKS;
            EngineEvent::Stored(Stored {
                blocks,
                parent: first.checked_sub(1).map(|before| hashes[before]),
                tokens: &tokens[first * BLOCK_TOKENS..][..EVENT_BLOCKS * BLOCK_TOKENS],
                block_tokens: Tokens::of(BLOCK_TOKENS),
                home: Home::default(),
                attention: None,
                lora: Lora::default(),
                cache_salt: None,
                extra_keys: ExtraKeys::default(),
            })
        };
        self.messages(&hashes.chunks(EVENT_BLOCKS).enumerate().map(stored).collect::<Vec<_>>())
    }

    fn leaving(&self, prompt: u32) -> Vec<Vec<u8>> {
        let hashes = hashes(prompt);
        let removed = |blocks| EngineEvent::Removed(Removed { blocks, home: Home::default() });
        self.messages(&hashes.rchunks(1).map(removed).collect::<Vec<_>>())
    }

    fn messages(&self, events: &[EngineEvent<'_>]) -> Vec<Vec<u8>> {
        let message = |events| {
            let mut message = Vec::new();
            encode(self.form, 1.5, events, Some(0), &mut message);
            message
        };
        events.chunks(MESSAGE_EVENTS).map(message).collect()
    }
}

/// The tokens of a prompt.
pub fn tokens(prompt: u32) -> Vec<TokenId> {
    let spread = |place: u32| place.wrapping_mul(0x9e37_79b9) >> 15;
    let mut tokens: Vec<TokenId> = (0..(PROMPT_BLOCKS * BLOCK_TOKENS) as u32).map(spread).collect();
    tokens[0] = prompt;
    tokens
}

/// Spread like an engine's.
fn hashes(prompt: u32) -> Vec<EngineHash> {
    let first = u64::from(prompt) * PROMPT_BLOCKS as u64 + 1;
    let hash = |number: u64| EngineHash(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (first..first + PROMPT_BLOCKS as u64).map(hash).collect()
}

fn interleaved(turns: Vec<Vec<Vec<u8>>>) -> Vec<Message> {
    let longest = turns.iter().map(Vec::len).max().unwrap_or(0);
    let mut turns: Vec<_> = turns.into_iter().map(Vec::into_iter).collect();
    let mut messages = vec![];
    for _ in 0..longest {
        for (publisher, turn) in (0..).zip(&mut turns) {
            messages.extend(turn.next().map(|payload| Message { publisher, payload }));
        }
    }
    messages
}
