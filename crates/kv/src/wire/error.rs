//! What is wrong with bytes that should be KV events.

/// Something could not be read: which field, and at which byte of the message reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{field} could not be read at byte {at}: {problem}; hint: an engine newer than this gateway may speak another dialect, see \
     docs/kv-events.md"
)]
pub struct WireError {
    /// The byte of the message at which reading stopped.
    pub at: usize,
    /// The field that was being read, by its name in the engines.
    pub field: &'static str,
    /// What was wrong there.
    pub problem: Problem,
}

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The message ends within a value.
    #[error("the message ends here")]
    CutShort,
    /// A value of another kind.
    #[error("expected {wanted}, found {found}")]
    Wanted {
        /// What belongs there.
        wanted: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A byte that begins no value.
    #[error("no value begins with {marker:#04x}")]
    NoMarker {
        /// The byte.
        marker: u8,
    },
    /// A text that is no text.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A number beyond what the field can mean.
    #[error("{number} is too large")]
    TooLarge {
        /// The number.
        number: u64,
    },
    /// A field without which the event means nothing.
    #[error("the field is missing")]
    Missing,
    /// A kind of event that this release does not know.
    #[error("the kind of event is unknown")]
    UnknownKind,
    /// The blocks and their tokens do not go together.
    #[error("{tokens} tokens are not {blocks} blocks of {block_tokens}")]
    Uneven {
        /// Token ids in the event.
        tokens: usize,
        /// Block hashes in the event.
        blocks: usize,
        /// The event's block size.
        block_tokens: u32,
    },
}
