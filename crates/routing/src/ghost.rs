//! The memory of prompts that were sent lately, whether or not any worker still holds them: a cache that never forgets, as
//! far as its bound allows, kept as names only.
//!
//! It tells what was *lost*: tokens that somebody sent before and no worker holds any more. That is the pressure on the
//! fleet's caches, measured while it happens, and the oracle that hit rates are shown against.
//!
//! Not every block is remembered but a *mark* now and then (see [`Ruler`]), so that a prompt of 8,000 blocks costs some
//! hundred. Old marks go by generation: two sets, of which the elder is dropped when the younger is
//! full. A prompt that is sent again has all its marks renewed, so that whenever a mark is known, those before it are too,
//! and the furthest known mark is found by bisection.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use warmroute_kv::{AlreadyHashed, BlockHash};

use crate::ruler::{Ruler, partition};

/// A position is known to within a sixteenth.
const RULER: Ruler = Ruler { dense: 16 };
/// Marks remembered at least, whatever the fleet's size: a few hundred prompts.
pub(crate) const FEWEST_MARKS: usize = 1 << 14;
/// Marks remembered at most: 24 MB in the worst case.
pub(crate) const MOST_MARKS: usize = 1 << 20;

type Marks = HashSet<BlockHash, BuildHasherDefault<AlreadyHashed>>;

/// Marks of recently sent prompts.
#[derive(Debug, Default)]
pub(crate) struct Ghost {
    younger: Marks,
    elder: Marks,
}

impl Ghost {
    /// Takes in a prompt, and tells how many leading blocks of it were sent before; to be told how many that probably are saves
    /// a search. Keeps at most `most` marks.
    pub(crate) fn recall(&mut self, chain: &[BlockHash], probably: usize, most: usize) -> usize {
        let marks = RULER.marks_within(chain.len());
        let (young, known) = self.find(chain, marks, RULER.marks_within(probably));
        for mark in young..marks {
            self.younger.insert(chain[RULER.position(mark)]);
        }
        if self.younger.len() > most / 2 {
            // The elder's memory is used again: growing into it would take some decision a millisecond.
            std::mem::swap(&mut self.elder, &mut self.younger);
            self.younger.clear();
        }
        RULER.blocks(known)
    }

    /// How many leading blocks of a prompt were sent before; takes nothing in.
    pub(crate) fn known(&self, chain: &[BlockHash]) -> usize {
        RULER.blocks(self.find(chain, RULER.marks_within(chain.len()), 0).1)
    }

    /// How many leading marks are in the younger set, which may be as many as are `guessed`, and how many in either.
    fn find(&self, chain: &[BlockHash], marks: usize, guessed: usize) -> (usize, usize) {
        let name = |mark: usize| &chain[RULER.position(mark)];
        let is_young = |mark: usize| self.younger.contains(name(mark));
        let right = (1..marks).contains(&guessed) && is_young(guessed - 1) && !is_young(guessed);
        let young = if right { guessed } else { partition(marks, is_young) };
        (young, young + partition(marks - young, |mark| self.elder.contains(name(young + mark))))
    }

    /// About the bytes of heap that it takes.
    pub(crate) fn bytes(&self) -> usize {
        // Seven eighths of a table's places can be taken, and each has a byte beside it.
        let place = size_of::<BlockHash>() + 1;
        (self.younger.capacity() + self.elder.capacity()) * place * 8 / 7
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warmroute_kv::text_chain;

    use super::*;

    impl Ghost {
        fn len(&self) -> usize {
            self.younger.len() + self.elder.len()
        }
    }

    fn chain(text: &str) -> Vec<BlockHash> {
        text_chain(BlockHash(0), text.as_bytes(), 1).collect()
    }

    #[test]
    fn what_was_sent_before_is_recalled_and_nothing_else() {
        let mut ghost = Ghost::default();
        assert_eq!(ghost.recall(&chain("a question"), 0, 100), 0);
        assert_eq!(ghost.recall(&chain("a quest"), 0, 100), 7);
        assert_eq!(ghost.recall(&chain("a request"), 0, 100), 2);
        assert_eq!(ghost.recall(&chain("A question"), 0, 100), 0);
        assert_eq!(ghost.recall(&[], 0, 100), 0);
    }

    #[test]
    fn the_oldest_prompts_are_forgotten_and_the_bound_holds() {
        let mut ghost = Ghost::default();
        for number in 0..1_000 {
            ghost.recall(&chain(&format!("{number:04} is the number")), 0, 400);
            assert!(ghost.len() <= 400 + 32, "{} marks", ghost.len());
        }
        assert_eq!(
            ghost.recall(&chain("0000 is the number"), 0, 400),
            1,
            "only its first block was sent lately"
        );
        assert!(ghost.recall(&chain("0999 is the number"), 0, 400) > 16);
    }

    proptest! {
        /// Marks are dense at the beginning, so short chains are recalled exactly as long as nothing is forgotten.
        #[test]
        fn short_prompts_are_recalled_to_the_block(texts in proptest::collection::vec("[ab]{0,12}", 1..40)) {
            let mut ghost = Ghost::default();
            for (place, text) in texts.iter().enumerate() {
                let common = |other: &String| other.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
                let expected = texts[..place].iter().map(common).max().unwrap_or(0);
                prop_assert_eq!(ghost.recall(&chain(text), place % 13, 10_000), expected);
            }
        }

        #[test]
        fn marks_before_a_known_mark_are_known_though_generations_go(
            texts in proptest::collection::vec("[ab]{0,20}", 1..200),
        ) {
            let mut ghost = Ghost::default();
            for text in &texts {
                ghost.recall(&chain(text), text.len() / 2, 60);
                for other in &texts {
                    let names = chain(other);
                    let known = |mark: usize| {
                        let name = &names[RULER.position(mark)];
                        ghost.younger.contains(name) || ghost.elder.contains(name)
                    };
                    let first_gap = (0..RULER.marks_within(names.len())).take_while(|mark| known(*mark)).count();
                    let all = (0..RULER.marks_within(names.len())).filter(|mark| known(*mark)).count();
                    prop_assert_eq!(first_gap, all);
                }
            }
        }
    }
}
