//! From an engine's message to its events, in whichever dialect it speaks.
//!
//! A dialect differs from another in form and in length, never in meaning: events are lists up to vLLM 0.23 and SGLang 0.5.18 and maps
//! after, and every release appends fields. So there is one list of fields; a list-shaped event takes them by place, a map-shaped one by
//! name, and what is not known is passed over. A batch is walked over once before its first event is read: an unreadable event then
//! costs that event and no other, and the rank, which comes last, is known first.

use super::error::{Problem, WireError};
use super::event::{AttentionKind, EngineEvent, EngineHash, ExtraKeys, Home, Lora, Removed, Stored, Tier};
use super::reader::{Head, Reader};
use crate::units::{TokenId, Tokens};

/// One message of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// When it was sent, in seconds since 1970 by the engine's clock.
    pub published_s: f64,
    /// Which of the engine's data-parallel ranks sent it.
    pub data_parallel_rank: Option<u32>,
    events: Reader<'a>,
    length: usize,
}

/// What events are decoded into; one serves for all messages, and grows to the largest event.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    hashes: Vec<EngineHash>,
    tokens: Vec<TokenId>,
}

/// The events of a batch, one after the other.
#[derive(Debug)]
pub struct Events<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Batch<'a> {
    /// Walks over a whole message.
    ///
    /// # Errors
    /// If it is no batch of events at all, or is cut. Unreadable events are no error here.
    pub fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(message);
        let (length, named) = match reader.head()? {
            Head::Array(length) => (length, false),
            Head::Map(length) => (length, true),
            other => return Err(reader.wanted("a list or a map", other)),
        };
        let (mut published_s, mut events, mut data_parallel_rank) = (None, None, None);
        for place in 0..length {
            let name = if named { reader.text()? } else { ENVELOPE.get(place).copied().unwrap_or_default() };
            match name {
                "ts" => {
                    reader.enter("ts");
                    published_s = Some(reader.seconds()?);
                }
                "events" => {
                    reader.enter("events");
                    let length = reader.array()?;
                    events = Some((reader, length));
                    (0..length).try_for_each(|_| reader.skip())?;
                }
                "data_parallel_rank" => {
                    reader.enter("data_parallel_rank");
                    data_parallel_rank = reader.optional_u32()?;
                }
                _ => reader.skip()?,
            }
            reader.enter("the batch");
        }
        reader.enter("events");
        let (events, length) = events.ok_or_else(|| reader.error(Problem::Missing))?;
        Ok(Self { published_s: published_s.unwrap_or_default(), data_parallel_rank, events, length })
    }

    /// How many events it has, readable or not.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Its events in order.
    pub const fn events(&self) -> Events<'a> {
        Events { reader: self.events, left: self.length }
    }
}

/// The batch's own fields in their order.
const ENVELOPE: [&str; 3] = ["ts", "events", "data_parallel_rank"];

impl<'a> Events<'a> {
    /// The next event, or what was wrong with it. (Not an `Iterator`: an event lives in `buffers`, until the next is asked for.)
    pub fn next<'b>(&mut self, buffers: &'b mut Buffers) -> Option<Result<EngineEvent<'b>, WireError>>
    where
        'a: 'b,
    {
        self.left = self.left.checked_sub(1)?;
        let mut event = self.reader;
        // It was walked over before, so this cannot fail; if it did, nothing behind it could be found.
        if self.reader.skip().is_err() {
            self.left = 0;
        }
        Some(read(&mut event, buffers))
    }
}

/// What an event's fields say, by whatever form they came in.
#[derive(Default)]
struct Draft<'a> {
    has_blocks: bool,
    parent: Option<EngineHash>,
    block_tokens: Option<u32>,
    lora: Lora<'a>,
    medium: Option<&'a str>,
    group: Option<u32>,
    attention: Option<AttentionKind>,
    cache_salt: Option<&'a str>,
    extra_keys: ExtraKeys<'a>,
    remote: bool,
}

/// The fields of `BlockStored` in the order in which list-shaped dialects have them, by their names in map-shaped ones.
const STORED: [&str; 12] = [
    "block_hashes",
    "parent_block_hash",
    "token_ids",
    "block_size",
    "lora_id",
    "medium",
    "lora_name",
    "extra_keys",
    "group_idx",
    "kv_cache_spec_kind",
    "kv_cache_spec_sliding_window",
    "locality",
];
/// The fields of `BlockRemoved`.
const REMOVED: [&str; 4] = ["block_hashes", "medium", "group_idx", "locality"];
/// Fields that only map-shaped dialects have.
const NAMED_ONLY: [&str; 1] = ["cache_salt"];

fn read<'b>(reader: &mut Reader<'b>, buffers: &'b mut Buffers) -> Result<EngineEvent<'b>, WireError> {
    reader.enter("the event");
    buffers.hashes.clear();
    buffers.tokens.clear();
    let mut draft = Draft::default();
    let tag = match reader.head()? {
        Head::Array(length) => read_list(reader, length, &mut draft, buffers)?,
        Head::Map(length) => read_map(reader, length, &mut draft, buffers)?,
        other => return Err(reader.wanted("a list or a map", other)),
    };
    reader.enter("block_hashes");
    if tag != "AllBlocksCleared" && !draft.has_blocks {
        return Err(reader.error(Problem::Missing));
    }
    let tier = if draft.remote { Tier::Remote } else { Tier::of_medium(draft.medium) };
    let home = Home { tier, group: draft.group };
    Ok(match tag {
        "BlockStored" => EngineEvent::Stored(stored(reader, &draft, home, buffers)?),
        "BlockRemoved" => EngineEvent::Removed(Removed { blocks: &buffers.hashes, home }),
        _ => EngineEvent::Cleared,
    })
}

/// One of the kinds there are.
fn known(reader: &mut Reader<'_>) -> Result<&'static str, WireError> {
    reader.enter("type");
    match reader.text()? {
        "BlockStored" => Ok("BlockStored"),
        "BlockRemoved" => Ok("BlockRemoved"),
        "AllBlocksCleared" => Ok("AllBlocksCleared"),
        _ => Err(reader.error(Problem::UnknownKind)),
    }
}

fn read_list<'b>(
    reader: &mut Reader<'b>,
    length: usize,
    draft: &mut Draft<'b>,
    buffers: &mut Buffers,
) -> Result<&'static str, WireError> {
    if length == 0 {
        reader.enter("type");
        return Err(reader.error(Problem::Missing));
    }
    let tag = known(reader)?;
    let fields: &[&'static str] = match tag {
        "BlockStored" => &STORED,
        "BlockRemoved" => &REMOVED,
        _ => &[],
    };
    // What comes behind the fields that are known is of a newer release.
    for field in fields.iter().take(length - 1) {
        read_field(reader, field, draft, buffers)?;
    }
    Ok(tag)
}

fn read_map<'b>(
    reader: &mut Reader<'b>,
    length: usize,
    draft: &mut Draft<'b>,
    buffers: &mut Buffers,
) -> Result<&'static str, WireError> {
    let mut tag = None;
    for _ in 0..length {
        reader.enter("a field's name");
        let name = reader.text()?;
        if name == "type" {
            tag = Some(known(reader)?);
        } else if let Some(field) = STORED.iter().chain(&NAMED_ONLY).find(|field| **field == name) {
            read_field(reader, field, draft, buffers)?;
        } else {
            reader.enter("an unknown field");
            reader.skip()?;
        }
    }
    reader.enter("type");
    tag.ok_or_else(|| reader.error(Problem::Missing))
}

fn read_field<'b>(
    reader: &mut Reader<'b>,
    field: &'static str,
    draft: &mut Draft<'b>,
    buffers: &mut Buffers,
) -> Result<(), WireError> {
    reader.enter(field);
    match field {
        "block_hashes" => {
            read_hashes(reader, &mut buffers.hashes)?;
            draft.has_blocks = true;
        }
        "parent_block_hash" => draft.parent = read_hash(reader)?,
        "token_ids" => read_tokens(reader, &mut buffers.tokens)?,
        "block_size" => draft.block_tokens = Some(reader.number_u32()?),
        "lora_id" => draft.lora.id = reader.optional_u32()?,
        "medium" => draft.medium = reader.optional_text()?,
        "lora_name" => draft.lora.name = reader.optional_text()?,
        "extra_keys" => draft.extra_keys = read_extra_keys(reader)?,
        "group_idx" => draft.group = reader.optional_u32()?,
        "kv_cache_spec_kind" => draft.attention = reader.optional_text()?.map(AttentionKind::of_word),
        "locality" => draft.remote = reader.optional_text()? == Some("REMOTE"),
        "cache_salt" => draft.cache_salt = reader.optional_text()?,
        _ => reader.skip()?,
    }
    Ok(())
}

fn read_hash(reader: &mut Reader<'_>) -> Result<Option<EngineHash>, WireError> {
    match reader.head()? {
        Head::Nil => Ok(None),
        Head::Unsigned(number) => Ok(Some(EngineHash(number))),
        Head::Negative(number) => Ok(Some(EngineHash(number.cast_unsigned()))),
        // Shorter ones are filled up with zeros in front, as a number would be.
        Head::Bytes(bytes) => Ok(Some(EngineHash(
            bytes.iter().rev().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        ))),
        other => Err(reader.wanted("a number or bytes", other)),
    }
}

fn read_hashes(reader: &mut Reader<'_>, hashes: &mut Vec<EngineHash>) -> Result<(), WireError> {
    hashes.clear();
    for _ in 0..reader.array()? {
        let hash = read_hash(reader)?;
        hashes.push(hash.ok_or_else(|| reader.error(Problem::Wanted { wanted: "a hash", found: "nil" }))?);
    }
    Ok(())
}

fn read_tokens(reader: &mut Reader<'_>, tokens: &mut Vec<TokenId>) -> Result<(), WireError> {
    tokens.clear();
    for _ in 0..reader.array()? {
        let token = match reader.head()? {
            Head::Unsigned(token) => token,
            // With speculative decoding SGLang names a token together with the next: the first is the one at this place.
            Head::Array(length) if length > 0 => {
                let first = reader.number_u32()?;
                (1..length).try_for_each(|_| reader.skip())?;
                u64::from(first)
            }
            other => return Err(reader.wanted("a token id", other)),
        };
        tokens.push(TokenId::try_from(token).map_err(|_| reader.error(Problem::TooLarge { number: token }))?);
    }
    Ok(())
}

/// The list in its bytes, or nothing if it has nothing for any block.
fn read_extra_keys<'a>(reader: &mut Reader<'a>) -> Result<ExtraKeys<'a>, WireError> {
    let start = *reader;
    let blocks = match reader.head()? {
        Head::Nil => return Ok(ExtraKeys::default()),
        Head::Array(blocks) => blocks,
        other => return Err(reader.wanted("a list", other)),
    };
    let mut any = false;
    for _ in 0..blocks {
        let block = *reader;
        reader.skip()?;
        any |= reader.since(&block) != [0xc0];
    }
    Ok(if any { ExtraKeys(reader.since(&start)) } else { ExtraKeys::default() })
}

fn stored<'b>(
    reader: &mut Reader<'b>,
    draft: &Draft<'b>,
    home: Home,
    buffers: &'b Buffers,
) -> Result<Stored<'b>, WireError> {
    let (blocks, tokens) = (buffers.hashes.len(), buffers.tokens.len());
    reader.enter("block_size");
    let block_tokens = draft.block_tokens.ok_or_else(|| reader.error(Problem::Missing))?;
    let expected = Tokens(block_tokens).get().checked_mul(blocks);
    reader.enter("token_ids");
    // Copies to another tier may come without their tokens; whoever knows the blocks knows what is in them.
    let copied = tokens == 0 && home.tier != Tier::Device;
    if block_tokens == 0 || (!copied && expected != Some(tokens)) {
        return Err(reader.error(Problem::Uneven { tokens, blocks, block_tokens }));
    }
    Ok(Stored {
        blocks: &buffers.hashes,
        parent: draft.parent,
        tokens: &buffers.tokens,
        block_tokens: Tokens(block_tokens),
        home,
        attention: draft.attention,
        lora: draft.lora,
        cache_salt: draft.cache_salt,
        extra_keys: draft.extra_keys,
    })
}
