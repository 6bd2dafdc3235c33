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

mod marks;

use std::ops::Range;

use warmroute_kv::{BlockHash, Ruler};

use self::marks::{GROUP, Mark, Marks};
use crate::partition::partition;

/// A position is known to within a sixteenth.
const RULER: Ruler = Ruler { dense: 16 };
const _: () = assert!(RULER.dense.is_multiple_of(GROUP));
/// Marks remembered at least, whatever the fleet's size: a few hundred prompts.
pub(crate) const FEWEST_MARKS: usize = 1 << 14;
/// Marks remembered at most: 9 MB.
pub(crate) const MOST_MARKS: usize = 1 << 20;

/// Marks of recently sent prompts.
#[derive(Debug, Default)]
pub(crate) struct Ghost {
    younger: Marks,
    elder: Marks,
}

/// Marks of a prompt that the younger set has not.
#[derive(Clone, Debug)]
pub(crate) struct News {
    marks: Range<usize>,
}

impl Ghost {
    /// How many leading blocks of a prompt were sent before, and what is left to take in of it; to be told how many they probably are
    /// saves a search.
    pub(crate) fn recall(&self, chain: &[BlockHash], probably: usize) -> (usize, News) {
        let marks = RULER.marks_within(chain.len());
        let probably = RULER.marks_within(probably);
        let asked = |mark: usize| (mark < marks).then(|| marked(chain, mark));
        self.younger.look_ahead([probably.saturating_sub(1), probably].into_iter().filter_map(asked));
        self.elder.look_ahead(asked(probably).into_iter());
        let (young, known) = self.find(chain, marks, probably);
        (RULER.blocks(known), News { marks: young..marks })
    }

    /// Takes in what [`recall`](Self::recall) left of a prompt, before anything else. Keeps at most `most` marks.
    pub(crate) fn take_in(&mut self, chain: &[BlockHash], news: News, most: usize) {
        if self.younger.room() == 0 {
            self.younger.reset(most / 2);
        }
        self.renew(chain, news.marks);
        if self.younger.len() > self.younger.room().min(most / 2) {
            std::mem::swap(&mut self.elder, &mut self.younger);
            self.younger.reset(most / 2);
        }
    }

    /// Takes in marks of a prompt that the younger set has not.
    fn renew(&mut self, chain: &[BlockHash], marks: Range<usize>) {
        if marks.is_empty() {
            return;
        }
        let groups = marks.start / GROUP..marks.end.div_ceil(GROUP);
        self.younger.look_ahead(groups.clone().map(|group| marked(chain, group * GROUP)));
        for group in groups {
            let first = group * GROUP;
            let (from, to) = (first.max(marks.start), marks.end.min(first + GROUP));
            // All marks of a group are in one octave.
            let names = chain[RULER.position(from)..].iter().step_by(RULER.spacing(first)).take(to - from);
            self.younger.insert_new(chain[RULER.position(first)], names.copied());
        }
    }

    /// How many leading blocks of a prompt were sent before; takes nothing in.
    pub(crate) fn known(&self, chain: &[BlockHash]) -> usize {
        RULER.blocks(self.find(chain, RULER.marks_within(chain.len()), 0).1)
    }

    /// How many leading marks are in the younger set, which may be as many as are `guessed`, and how many in either.
    fn find(&self, chain: &[BlockHash], marks: usize, guessed: usize) -> (usize, usize) {
        let is_young = |mark: usize| self.younger.contains(marked(chain, mark));
        // Marks before a known one are known.
        let up_to_there = |guessed: usize| guessed == marks || !is_young(guessed);
        let right = (1..=marks).contains(&guessed) && is_young(guessed - 1) && up_to_there(guessed);
        let young = if right { guessed } else { partition(marks, is_young) };
        (young, young + partition(marks - young, |mark| self.elder.contains(marked(chain, young + mark))))
    }

    /// About the bytes of heap that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.younger.bytes() + self.elder.bytes()
    }
}

/// A mark of a prompt.
fn marked(chain: &[BlockHash], mark: usize) -> Mark {
    let name = |mark: usize| chain[RULER.position(mark)];
    Mark { name: name(mark), group: name(mark - mark % GROUP) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warmroute_kv::text_chain;

    use super::*;

    impl Ghost {
        /// Asks and takes in.
        fn send(&mut self, chain: &[BlockHash], probably: usize, most: usize) -> usize {
            let (known, news) = self.recall(chain, probably);
            self.take_in(chain, news, most);
            known
        }

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
        assert_eq!(ghost.send(&chain("a question"), 0, 100), 0);
        assert_eq!(ghost.send(&chain("a quest"), 0, 100), 7);
        assert_eq!(ghost.send(&chain("a request"), 0, 100), 2);
        assert_eq!(ghost.send(&chain("A question"), 0, 100), 0);
        assert_eq!(ghost.send(&[], 0, 100), 0);
    }

    #[test]
    fn the_oldest_prompts_are_forgotten_and_the_bound_holds() {
        let mut ghost = Ghost::default();
        for number in 0..1_000 {
            ghost.send(&chain(&format!("{number:04} is the number")), 0, 400);
            assert!(ghost.len() <= 400 + 32, "{} marks", ghost.len());
        }
        assert_eq!(
            ghost.send(&chain("0000 is the number"), 0, 400),
            1,
            "only its first block was sent lately"
        );
        assert!(ghost.send(&chain("0999 is the number"), 0, 400) > 16);
    }

    proptest! {
        /// Marks are dense at the beginning, so short chains are recalled exactly as long as nothing is forgotten.
        #[test]
        fn short_prompts_are_recalled_to_the_block(texts in proptest::collection::vec("[ab]{0,12}", 1..40)) {
            let mut ghost = Ghost::default();
            for (place, text) in texts.iter().enumerate() {
                let common = |other: &String| other.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
                let expected = texts[..place].iter().map(common).max().unwrap_or(0);
                prop_assert_eq!(ghost.send(&chain(text), place % 13, 10_000), expected);
            }
        }

        #[test]
        fn marks_before_a_known_mark_are_known_though_generations_go(
            texts in proptest::collection::vec("[ab]{0,20}", 1..200),
        ) {
            let mut ghost = Ghost::default();
            for text in &texts {
                ghost.send(&chain(text), text.len() / 2, 60);
                for other in &texts {
                    let names = chain(other);
                    let known = |mark: usize| {
                        let mark = marked(&names, mark);
                        ghost.younger.contains(mark) || ghost.elder.contains(mark)
                    };
                    let first_gap = (0..RULER.marks_within(names.len())).take_while(|mark| known(*mark)).count();
                    let all = (0..RULER.marks_within(names.len())).filter(|mark| known(*mark)).count();
                    prop_assert_eq!(first_gap, all);
                }
            }
        }
    }
}
