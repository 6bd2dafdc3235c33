//! Counts that must not be mixed up: a block is not a token.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// One entry of a model's vocabulary.
pub type TokenId = u32;

macro_rules! count {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// None at all.
            pub const ZERO: Self = Self(0);

            /// The count as an index or length.
            pub const fn get(self) -> usize {
                self.0 as usize
            }

            /// The count of `length` things; a length beyond `u32` is held at the largest count there is.
            pub fn of(length: usize) -> Self {
                Self(u32::try_from(length).unwrap_or(u32::MAX))
            }

            /// The count as a real number, for prices and averages.
            pub fn as_f64(self) -> f64 {
                f64::from(self.0)
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        /// Never below zero: estimates meet corrections here, and neither may wrap.
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
                counts.fold(Self::ZERO, Add::add)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    };
}

count! {
    /// A number of tokens.
    Tokens
}

count! {
    /// A number of KV-cache blocks.
    Blocks
}

impl Tokens {
    /// How many blocks of `block` tokens it takes to hold these tokens.
    pub fn in_blocks(self, block: Self) -> Blocks {
        Blocks(self.0.div_ceil(block.0.max(1)))
    }
}

impl Blocks {
    /// How many tokens these blocks hold at `block` tokens each.
    pub fn in_tokens(self, block: Tokens) -> Tokens {
        Tokens(self.0.saturating_mul(block.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_started_block_counts_whole() {
        assert_eq!(Tokens(33).in_blocks(Tokens(16)), Blocks(3));
        assert_eq!(Blocks(3).in_tokens(Tokens(16)), Tokens(48));
    }

    #[test]
    fn counts_stop_at_zero_and_at_the_top() {
        assert_eq!(Tokens(1) - Tokens(2), Tokens::ZERO);
        assert_eq!(Tokens(u32::MAX) + Tokens(1), Tokens(u32::MAX));
        assert_eq!(Tokens::of(usize::MAX), Tokens(u32::MAX));
    }
}
