//! Where the keys and values of cached tokens live, block by block, in the order the attention kernel reads
//! them.
//!
//! A block of one layer and head holds its keys transposed, `[dimension][token]`, so that the scores of its
//! sixteen tokens are one panel of the matrix kernel, and its values as `[panel of
//! dimensions][token][dimension]`, panels again. A block's memory is taken when the block is first written,
//! so a store costs what has been used of it.

use warmroute_kv::{Blocks, Slot};

use super::compute::{LANES, Lane};

/// Tokens in a block: as many as the kernel has lanes.
pub const BLOCK_TOKENS: usize = LANES;

/// What a block's size depends on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct KvShape {
    pub layers: usize,
    pub kv_heads: usize,
    pub head_width: usize,
}

impl KvShape {
    /// Value panels of a head.
    pub(super) fn panels(self) -> usize {
        self.head_width.div_ceil(LANES)
    }

    fn head_lanes(self) -> usize {
        self.head_width + self.panels() * BLOCK_TOKENS
    }

    fn block_lanes(self) -> usize {
        self.layers * self.kv_heads * self.head_lanes()
    }
}

/// The keys and values of every block a worker can hold. A [`Slot`] says which block.
#[derive(Debug)]
pub struct KvStore {
    shape: KvShape,
    /// Empty until the slot is first written.
    blocks: Vec<Vec<Lane>>,
}

impl KvStore {
    pub(super) fn new(shape: KvShape, capacity: Blocks) -> Self {
        Self { shape, blocks: vec![Vec::new(); capacity.0 as usize] }
    }

    /// Bytes of memory one block takes once it is used.
    pub fn block_bytes(&self) -> usize {
        self.shape.block_lanes() * size_of::<Lane>()
    }

    /// Blocks this store has room for.
    pub fn capacity(&self) -> Blocks {
        Blocks(u32::try_from(self.blocks.len()).expect("made from a u32"))
    }

    pub(super) fn shape(&self) -> KvShape {
        self.shape
    }

    fn head_start(&self, layer: usize, kv_head: usize) -> usize {
        (layer * self.shape.kv_heads + kv_head) * self.shape.head_lanes()
    }

    /// The keys of a block: one lane per dimension, of the block's tokens.
    #[inline(always)]
    pub(super) fn keys(&self, slot: Slot, layer: usize, kv_head: usize) -> &[Lane] {
        &self.blocks[slot.index()][self.head_start(layer, kv_head)..][..self.shape.head_width]
    }

    /// The values of a block: one lane per token, of the dimensions in `panel`.
    #[inline(always)]
    pub(super) fn values(&self, slot: Slot, layer: usize, kv_head: usize, panel: usize) -> &[Lane] {
        let start = self.head_start(layer, kv_head) + self.shape.head_width + panel * BLOCK_TOKENS;
        &self.blocks[slot.index()][start..][..BLOCK_TOKENS]
    }

    /// Fills every used block with NaN: what the worst last owner could leave.
    #[cfg(test)]
    pub(super) fn poison(&mut self) {
        self.blocks.iter_mut().flatten().for_each(|lane| lane.0.fill(f32::NAN));
    }

    /// Writes one token's keys and values of all heads of a layer. Writing a block's first token wipes what
    /// the block's last owner left in this layer: attention multiplies values not yet written by zero, and
    /// zero times an old NaN would be NaN.
    pub(super) fn write(&mut self, (slot, token): (Slot, usize), layer: usize, keys: &[f32], values: &[f32]) {
        let shape = self.shape;
        let start = self.head_start(layer, 0);
        let block = &mut self.blocks[slot.index()];
        if block.is_empty() {
            block.resize(shape.block_lanes(), Lane::default());
        }
        let heads = &mut block[start..][..shape.kv_heads * shape.head_lanes()];
        if token == 0 {
            heads.fill(Lane::default());
        }
        let width = shape.head_width;
        for (head, (keys, values)) in heads
            .chunks_exact_mut(shape.head_lanes())
            .zip(keys.chunks_exact(width).zip(values.chunks_exact(width)))
        {
            let (key_lanes, value_lanes) = head.split_at_mut(width);
            for (lane, key) in key_lanes.iter_mut().zip(keys) {
                lane.0[token] = *key;
            }
            for (panel, values) in value_lanes.chunks_exact_mut(BLOCK_TOKENS).zip(values.chunks(LANES)) {
                panel[token].0[..values.len()].copy_from_slice(values);
            }
        }
    }
}
