//! How long blocks are, and where marks stand in a prompt.

/// A spacing of marks: closer at the beginning of a prompt, wider apart the further in.
///
/// Octave by octave, `dense` marks stand one apart, as many two apart, as many four apart, and so on: a position is known to within one
/// part in `dense`, and a prompt's marks grow with the logarithm of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruler {
    /// Marks in each octave.
    pub dense: usize,
}

impl Ruler {
    /// The block that the mark with this number stands on.
    pub const fn position(self, mark: usize) -> usize {
        let (octave, step) = (mark / self.dense, mark % self.dense);
        self.dense * ((1 << octave) - 1) + ((step + 1) << octave) - 1
    }

    /// How far from one another the marks of this one's octave stand.
    pub const fn spacing(self, mark: usize) -> usize {
        1 << (mark / self.dense)
    }

    /// How many marks stand within a prompt of `blocks` blocks.
    pub const fn marks_within(self, blocks: usize) -> usize {
        let octave = (blocks / self.dense + 1).ilog2() as usize;
        let before = self.dense * ((1 << octave) - 1);
        octave * self.dense + ((blocks - before) >> octave)
    }

    /// The blocks before and with the first `marks` marks.
    pub const fn blocks(self, marks: usize) -> usize {
        match marks.checked_sub(1) {
            Some(last) => self.position(last) + 1,
            None => 0,
        }
    }
}

/// How long the blocks of a prompt are: all alike, as engines have them, or longer the further in they stand.
///
/// Every block costs the same time and memory, and a hundred bytes more or less count for little behind many thousand. So text that
/// nobody but the router cuts is cut finely at its beginning, where prompts part, and coarsely further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLength {
    first: usize,
    widens: bool,
}

/// Sixteen blocks of each length: where two prompts part is known to within a sixteenth.
const WIDENING: Ruler = Ruler { dense: 16 };

impl BlockLength {
    /// All blocks are `length` long.
    pub const fn even(length: usize) -> Self {
        Self { first: length, widens: false }
    }

    /// The first blocks are `first` long, later ones up to a sixteenth of what stands before them.
    pub const fn widening(first: usize) -> Self {
        Self { first, widens: true }
    }

    /// Length of the first block, which no other is shorter than.
    pub const fn first(self) -> usize {
        self.first
    }

    /// Whether blocks further in are longer.
    pub const fn widens(self) -> bool {
        self.widens
    }

    /// How many times as long as the first the block at `place` is.
    pub const fn span(self, place: usize) -> usize {
        if self.widens { WIDENING.spacing(place) } else { 1 }
    }

    /// How many times as long as the first so many leading blocks are together.
    pub const fn spans(self, blocks: usize) -> usize {
        if self.widens { WIDENING.blocks(blocks) } else { blocks }
    }

    /// Length of so many leading blocks.
    pub const fn of(self, blocks: usize) -> usize {
        self.spans(blocks) * self.first
    }

    /// How many whole blocks there are in `length`.
    ///
    /// # Panics
    /// If blocks have no length.
    pub const fn whole_in(self, length: usize) -> usize {
        let spans = length / self.first;
        if self.widens { WIDENING.marks_within(spans) } else { spans }
    }

    /// How many blocks it takes to cover `length`.
    ///
    /// # Panics
    /// If blocks have no length.
    pub const fn covering(self, length: usize) -> usize {
        let whole = self.whole_in(length);
        if self.of(whole) < length { whole + 1 } else { whole }
    }
}

impl From<usize> for BlockLength {
    fn from(length: usize) -> Self {
        Self::even(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_closer_than_the_ruler_says_of_their_position() {
        for dense in [1, 4, 16] {
            let ruler = Ruler { dense };
            for blocks in 0..5_000 {
                let marks = ruler.marks_within(blocks);
                let last = ruler.blocks(marks);
                assert!(
                    last <= blocks && ruler.position(marks) + 1 > blocks,
                    "{marks} marks in {blocks} blocks"
                );
                assert!((blocks - last) * dense <= blocks, "{blocks} blocks, last mark after {last}");
            }
        }
    }

    #[test]
    fn blocks_fill_a_prompt_and_widen_as_it_says() {
        for (length, longest) in [(BlockLength::even(3), 1), (BlockLength::widening(3), usize::MAX)] {
            for bytes in 0..10_000 {
                let whole = length.whole_in(bytes);
                assert!(
                    length.of(whole) <= bytes && bytes < length.of(whole + 1),
                    "{whole} blocks in {bytes} bytes"
                );
                let covering = if length.of(whole) == bytes { whole } else { whole + 1 };
                assert_eq!(length.covering(bytes), covering);
            }
            for place in 0..200 {
                assert_eq!(length.spans(place + 1) - length.spans(place), length.span(place));
                assert!(length.span(place) <= longest.min(1 + length.spans(place) / 16), "block {place}");
            }
        }
    }
}
