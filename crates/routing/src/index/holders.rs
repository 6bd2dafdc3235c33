//! The set of workers that hold a run.
//!
//! Workers are numbered by dense slots. One word holds a set whose members all lie in the same 64 slots, which is every
//! set of a fleet of up to 64 workers and most sets of a larger one; only others are on the heap. Each set has exactly
//! one form, so that comparing forms compares sets.

use super::workers::Slot;

/// A set of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holders {
    /// All members in slots `64 * index ..`; the empty set has index 0.
    Word { index: u32, bits: u64 },
    /// Members in more than one word; the last word is not empty.
    Many(Box<Words>),
}

/// Behind a thin pointer, since a run must not grow for what most runs do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words(Box<[u64]>);

impl Holders {
    pub(super) fn one(slot: Slot) -> Self {
        Self::Word { index: slot.0 / 64, bits: bit(slot) }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Word { bits: 0, .. })
    }

    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.word(slot.0 / 64) & bit(slot) != 0
    }

    /// The members in slots `64 * index .. 64 * (index + 1)`.
    pub(super) fn word(&self, index: u32) -> u64 {
        match self {
            Self::Word { index: only, bits } => bits * u64::from(*only == index),
            Self::Many(words) => words.0.get(index as usize).copied().unwrap_or(0),
        }
    }

    /// This set and `slot`.
    pub(super) fn with(&self, slot: Slot) -> Self {
        let at = slot.0 / 64;
        match self {
            Self::Word { index, bits } if *bits == 0 || *index == at => {
                Self::Word { index: at, bits: bits | bit(slot) }
            }
            _ => self.many(
                self.words().max(at + 1),
                |index, word| {
                    if index == at { word | bit(slot) } else { word }
                },
            ),
        }
    }

    /// This set but for `slot`.
    pub(super) fn without(&self, slot: Slot) -> Self {
        let at = slot.0 / 64;
        let left = |index: u32, word: u64| if index == at { word & !bit(slot) } else { word };
        match self {
            Self::Word { index, bits } => match left(*index, *bits) {
                0 => Self::Word { index: 0, bits: 0 },
                bits => Self::Word { index: *index, bits },
            },
            Self::Many(_) => self.many(self.words(), left),
        }
    }

    /// Words that `word` can be other than zero for.
    pub(super) fn words(&self) -> u32 {
        match self {
            Self::Word { index, .. } => index + 1,
            Self::Many(words) => words.0.len() as u32,
        }
    }

    #[cfg(test)]
    pub(super) fn with_one_form(&self) -> Self {
        self.many(self.words(), |_, word| word)
    }

    /// Bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Word { .. } => 0,
            Self::Many(words) => size_of::<Words>() + size_of_val(&*words.0),
        }
    }

    /// The set of `count` words made from this one's, in the form that it must have.
    fn many(&self, count: u32, made: impl Fn(u32, u64) -> u64) -> Self {
        let words = (0..count).map(|index| (index, made(index, self.word(index))));
        let mut taken = words.clone().filter(|(_, bits)| *bits != 0);
        match (taken.next(), taken.last()) {
            (None, _) => Self::Word { index: 0, bits: 0 },
            (Some((index, bits)), None) => Self::Word { index, bits },
            (_, Some((last, _))) => {
                Self::Many(Box::new(Words(words.take(last as usize + 1).map(|(_, bits)| bits).collect())))
            }
        }
    }
}

/// The members of `bits`, the word that begins at slot `64 * index`.
pub(super) fn slots(index: usize, mut bits: u64) -> impl Iterator<Item = Slot> {
    std::iter::from_fn(move || {
        let lowest = bits.trailing_zeros();
        bits &= bits.checked_sub(1)?;
        Some(Slot(64 * index as u32 + lowest))
    })
}

/// Whether the set of these words has `slot`.
pub(super) fn has(words: &[u64], slot: Slot) -> bool {
    words.get(slot.0 as usize / 64).is_some_and(|word| word & bit(slot) != 0)
}

fn bit(slot: Slot) -> u64 {
    1 << (slot.0 % 64)
}
