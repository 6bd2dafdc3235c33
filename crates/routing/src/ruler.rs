//! Where marks stand in a prompt: closer at its beginning, wider apart the further in.
//!
//! A name vouches for everything before it, so that it takes only a few of a prompt's names to know roughly how much of it is
//! known somewhere. Octave by octave: `dense` marks one block apart, as many two apart, as many four apart, and so on: a
//! position is known to within one part in `dense`, and a prompt's marks grow with the logarithm of its length.

/// A spacing of marks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ruler {
    /// Marks in each octave.
    pub(crate) dense: usize,
}

impl Ruler {
    /// The block that the mark with this number stands on.
    pub(crate) const fn position(self, mark: usize) -> usize {
        let (octave, step) = (mark / self.dense, mark % self.dense);
        self.dense * ((1 << octave) - 1) + ((step + 1) << octave) - 1
    }

    /// How far from one another the marks of this one's octave stand.
    pub(crate) const fn spacing(self, mark: usize) -> usize {
        1 << (mark / self.dense)
    }

    /// How many marks stand within a prompt of `blocks` blocks.
    pub(crate) const fn marks_within(self, blocks: usize) -> usize {
        let octave = (blocks / self.dense + 1).ilog2() as usize;
        let before = self.dense * ((1 << octave) - 1);
        octave * self.dense + ((blocks - before) >> octave)
    }

    /// The blocks before and with the first `marks` marks.
    pub(crate) fn blocks(self, marks: usize) -> usize {
        marks.checked_sub(1).map_or(0, |last| self.position(last) + 1)
    }
}

/// How many of `0..count` satisfy `known`, where all that do come first. All or none, which is what mostly is, is found at once.
pub(crate) fn partition(count: usize, known: impl Fn(usize) -> bool) -> usize {
    if count == 0 || !known(0) {
        return 0;
    }
    if known(count - 1) {
        return count;
    }
    let (mut below, mut above) = (1, count - 1);
    while below < above {
        let middle = below.midpoint(above);
        if known(middle) {
            below = middle + 1;
        } else {
            above = middle;
        }
    }
    below
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
    fn the_partition_point_is_found() {
        for count in 0..40 {
            for point in 0..=count {
                assert_eq!(partition(count, |place| place < point), point);
            }
        }
    }
}
