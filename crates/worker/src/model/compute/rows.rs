//! Activations: one row per token, rows padded so that whole panels of outputs can be written.

use super::tile::LANES;

/// A matrix of activations. Reused between steps: growing keeps the allocation.
#[derive(Debug, Default)]
pub(in crate::model) struct Rows {
    data: Vec<f32>,
    count: usize,
    width: usize,
    stride: usize,
}

impl Rows {
    /// Makes this `count` rows of `width`. What the rows hold is left over from earlier and must be
    /// overwritten.
    pub(in crate::model) fn reshape(&mut self, count: usize, width: usize) {
        self.count = count;
        self.width = width;
        self.stride = width.next_multiple_of(LANES);
        let needed = count * self.stride;
        if self.data.len() < needed {
            self.data.resize(needed, 0.0);
        }
    }

    pub(in crate::model) fn count(&self) -> usize {
        self.count
    }

    pub(in crate::model) fn width(&self) -> usize {
        self.width
    }

    pub(in crate::model) fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.stride..][..self.width]
    }

    pub(in crate::model) fn row_mut(&mut self, index: usize) -> &mut [f32] {
        &mut self.data[index * self.stride..][..self.width]
    }

    /// Drops all rows but these, which must ascend.
    pub(in crate::model) fn keep(&mut self, kept: &[usize]) {
        for (to, from) in kept.iter().enumerate() {
            debug_assert!(to <= *from && *from < self.count);
            self.data.copy_within(from * self.stride..(from + 1) * self.stride, to * self.stride);
        }
        self.count = kept.len();
    }

    /// The outputs of panel number `panel` in a row: for the kernel to write.
    #[inline(always)]
    pub(super) fn panel_mut(&mut self, row: usize, panel: usize) -> &mut [f32; LANES] {
        let start = row * self.stride + panel * LANES;
        self.data[start..].first_chunk_mut().expect("reshape made every row whole panels long")
    }
}
