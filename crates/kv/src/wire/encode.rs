//! From events to a message as vLLM publishes it, so that our own workers speak to any router that understands vLLM.
//!
//! The list form is vLLM 0.20's to 0.23's, the map form that of 0.24 and after: the bytes are the same as theirs.

use super::event::{AttentionKind, EngineEvent, EngineHash, ExtraKeys, Home, Removed, Stored};

/// The form of events in a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Lists of fields, as up to vLLM 0.23.
    Array,
    /// Maps with the fields' names, as since vLLM 0.24.
    #[default]
    Map,
}

/// Appends a batch of events, sent at `published_s` seconds since 1970 by this rank, to `out`.
pub fn encode(
    form: Form,
    published_s: f64,
    events: &[EngineEvent<'_>],
    data_parallel_rank: Option<u32>,
    out: &mut Vec<u8>,
) {
    let mut writer = Writer { form, out };
    writer.length(3, ARRAY);
    writer.out.push(0xcb);
    writer.out.extend(published_s.to_be_bytes());
    writer.length(events.len(), ARRAY);
    for event in events {
        match event {
            EngineEvent::Stored(stored) => writer.stored(stored),
            EngineEvent::Removed(removed) => writer.removed(removed),
            EngineEvent::Cleared => writer.event("AllBlocksCleared", 0),
        }
    }
    writer.optional(data_parallel_rank);
}

impl ExtraKeys<'_> {
    /// Writes the keys of so many blocks that begin a prompt with this salt: vLLM has it with the first, and nothing with the others.
    pub fn write_salt(salt: &str, blocks: usize, out: &mut Vec<u8>) {
        let mut writer = Writer { form: Form::Array, out };
        writer.length(blocks, ARRAY);
        if blocks > 0 {
            writer.length(1, ARRAY);
            writer.text(salt);
        }
        (1..blocks).for_each(|_| writer.nil());
    }
}

struct Writer<'o> {
    form: Form,
    out: &'o mut Vec<u8>,
}

/// Which of the fields that came with later releases are written.
#[derive(Clone, Copy)]
struct Optional {
    extra_keys: bool,
    group: bool,
    attention: bool,
    cache_salt: bool,
}

impl Optional {
    /// vLLM leaves defaults out of maps. A list needs those before the last that is set.
    fn of(stored: &Stored<'_>, form: Form) -> Self {
        let attention = stored.attention.is_some();
        let group = stored.home.group.is_some();
        let extra_keys = !stored.extra_keys.is_empty();
        match form {
            Form::Map => Self { extra_keys, group, attention, cache_salt: stored.cache_salt.is_some() },
            Form::Array => Self {
                extra_keys: extra_keys || group || attention,
                group: group || attention,
                attention,
                cache_salt: false,
            },
        }
    }

    fn count(self) -> usize {
        [self.extra_keys, self.group, self.attention, self.cache_salt]
            .into_iter()
            .filter(|there| *there)
            .count()
    }
}

/// The markers of something with a length: the short form with up to so many things, then those with one, two and four bytes.
type Markers = (u8, usize, Option<u8>, u8, u8);
const ARRAY: Markers = (0x90, 15, None, 0xdc, 0xdd);
const MAP: Markers = (0x80, 15, None, 0xde, 0xdf);
const TEXT: Markers = (0xa0, 31, Some(0xd9), 0xda, 0xdb);

impl Writer<'_> {
    fn stored(&mut self, stored: &Stored<'_>) {
        let optional = Optional::of(stored, self.form);
        self.event("BlockStored", 7 + optional.count());
        self.field("block_hashes");
        self.hashes(stored.blocks);
        self.field("parent_block_hash");
        match stored.parent {
            Some(parent) => self.number(parent.0),
            None => self.nil(),
        }
        self.field("token_ids");
        self.length(stored.tokens.len(), ARRAY);
        stored.tokens.iter().for_each(|token| self.number(u64::from(*token)));
        self.field("block_size");
        self.number(u64::from(stored.block_tokens.0));
        self.field("lora_id");
        self.optional(stored.lora.id);
        self.field("medium");
        self.text(stored.home.tier.medium());
        self.field("lora_name");
        self.optional_text(stored.lora.name);
        self.optional_fields(stored, optional);
    }

    fn optional_fields(&mut self, stored: &Stored<'_>, optional: Optional) {
        if optional.extra_keys {
            self.field("extra_keys");
            self.extra_keys(stored);
        }
        if optional.group {
            self.field("group_idx");
            self.optional(stored.home.group);
        }
        if optional.attention {
            self.field("kv_cache_spec_kind");
            self.optional_text(stored.attention.map(|kind| match kind {
                AttentionKind::Full => "full_attention",
                AttentionKind::Partial => "sliding_window",
            }));
        }
        if optional.cache_salt {
            self.field("cache_salt");
            self.optional_text(stored.cache_salt);
        }
    }

    fn removed(&mut self, removed: &Removed<'_>) {
        let Home { tier, group } = removed.home;
        self.event("BlockRemoved", 2 + usize::from(group.is_some()));
        self.field("block_hashes");
        self.hashes(removed.blocks);
        self.field("medium");
        self.text(tier.medium());
        if group.is_some() {
            self.field("group_idx");
            self.optional(group);
        }
    }

    /// Begins an event that so many fields follow.
    fn event(&mut self, tag: &str, fields: usize) {
        self.length(fields + 1, if self.form == Form::Map { MAP } else { ARRAY });
        self.field("type");
        self.text(tag);
    }

    fn field(&mut self, name: &str) {
        if self.form == Form::Map {
            self.text(name);
        }
    }

    fn extra_keys(&mut self, stored: &Stored<'_>) {
        if stored.extra_keys.is_empty() {
            return self.nil();
        }
        self.out.extend_from_slice(stored.extra_keys.0);
    }

    fn hashes(&mut self, hashes: &[EngineHash]) {
        self.length(hashes.len(), ARRAY);
        hashes.iter().for_each(|hash| self.number(hash.0));
    }

    fn nil(&mut self) {
        self.out.push(0xc0);
    }

    fn optional(&mut self, number: Option<u32>) {
        match number {
            Some(number) => self.number(u64::from(number)),
            None => self.nil(),
        }
    }

    fn optional_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.nil(),
        }
    }

    fn number(&mut self, number: u64) {
        // The shortest form, as msgspec writes it.
        let bytes = number.to_be_bytes();
        let (marker, width) = match number {
            0..=0x7f => return self.out.push(bytes[7]),
            0x80..=0xff => (0xcc, 1),
            0x100..=0xffff => (0xcd, 2),
            0x1_0000..=0xffff_ffff => (0xce, 4),
            _ => (0xcf, 8),
        };
        self.out.push(marker);
        self.out.extend_from_slice(&bytes[8 - width..]);
    }

    fn text(&mut self, text: &str) {
        self.length(text.len(), TEXT);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn length(&mut self, length: usize, (short, most, one, two, four): Markers) {
        let bytes = u32::try_from(length).expect("no event has four thousand million things").to_be_bytes();
        match (length, one) {
            (length, _) if length <= most => self.out.push(short | bytes[3]),
            (0..=0xff, Some(one)) => self.out.extend([one, bytes[3]]),
            (0..=0xffff, _) => self.out.extend([two, bytes[2], bytes[3]]),
            _ => {
                self.out.push(four);
                self.out.extend(bytes);
            }
        }
    }
}
