//! Causal attention of one span's new tokens over everything its sequence has in the store.
//!
//! For each token: scores of all earlier tokens, their softmax, the weighted sum of their values; three
//! passes, no running rescaling, because the order of every sum must be the order of positions whatever the
//! chunk. Tokens are taken a tile at a time so that a block fetched from memory serves many rows; query heads
//! that share a key-value head share the tile.

use warmroute_kv::Slot;

use super::compute::{LANES, Machine, Operands, Rows, Task, accumulate, dispatch, multiply, softmax};
use super::store::{BLOCK_TOKENS, KvStore};

/// Rows (tokens times heads that share keys) worked on together: their scores over a long prompt still fit
/// the cache.
const TILE_ROWS: usize = 48;

/// Buffers of the attention, kept between calls.
#[derive(Debug, Default)]
pub(super) struct AttentionBuffers {
    queries: Rows,
    scores: Rows,
    totals: Vec<f32>,
}

/// Where the rows of a span are and what they attend to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach<'a> {
    /// The sequence's blocks.
    pub slots: &'a [Slot],
    /// Position of the first new token in its sequence.
    pub start: usize,
    /// Row of the first new token in the batch.
    pub row: usize,
    /// New tokens.
    pub count: usize,
}

/// Attention in one layer.
pub(super) struct Attention<'a> {
    pub store: &'a KvStore,
    pub layer: usize,
    /// Query heads.
    pub heads: usize,
    /// Rows that begin with the queries of all heads.
    pub queries: &'a Rows,
}

impl Attention<'_> {
    /// Attends for the rows of one span; the answers go to the same rows of `mixed`.
    pub(super) fn apply(&self, reach: Reach<'_>, mixed: &mut Rows, buffers: &mut AttentionBuffers) {
        dispatch(Attend { attention: self, reach, mixed, buffers });
    }
}

struct Attend<'a> {
    attention: &'a Attention<'a>,
    reach: Reach<'a>,
    mixed: &'a mut Rows,
    buffers: &'a mut AttentionBuffers,
}

impl Task for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<M: Machine>(mut self) {
        let shape = self.attention.store.shape();
        let group = self.attention.heads / shape.kv_heads;
        let tokens = (TILE_ROWS / group).max(1);
        for kv_head in 0..shape.kv_heads {
            let mut first = 0;
            while first < self.reach.count {
                let tokens = tokens.min(self.reach.count - first);
                let last = self.reach.start + first + tokens - 1;
                let blocks = &self.reach.slots[..=last / BLOCK_TOKENS];
                let tile = Tile { blocks, kv_head, group, first, tokens };
                self.attend_tile::<M>(&tile);
                first += tile.tokens;
            }
        }
    }
}

/// Some tokens of the span and the query heads of one key-value head: row `token * group + head` of the
/// buffers.
struct Tile<'a> {
    /// The blocks its last token attends to.
    blocks: &'a [Slot],
    kv_head: usize,
    group: usize,
    first: usize,
    tokens: usize,
}

impl Attend<'_> {
    #[inline(always)]
    fn attend_tile<M: Machine>(&mut self, tile: &Tile<'_>) {
        self.gather_queries(tile);
        let Attention { store, layer, .. } = *self.attention;
        let AttentionBuffers { queries, scores, totals } = &mut *self.buffers;
        scores.reshape(queries.count(), tile.blocks.len() * BLOCK_TOKENS);
        for (first, &slot) in tile.blocks.iter().enumerate() {
            let lanes = store.keys(slot, layer, tile.kv_head);
            multiply::<M, _>(&Operands { rows: queries, lanes, first }, 0..queries.count(), scores);
        }
        totals.clear();
        for row in 0..scores.count() {
            let position = self.reach.start + tile.first + row / tile.group;
            totals.push(softmax::<M>(scores.row_mut(row), position + 1));
        }
        let rows = scores.count();
        let mut row = 0;
        while row < rows {
            row += match rows - row {
                12.. if M::TILE_ROWS >= 12 => self.weigh::<M, 12>(tile, row),
                6.. if M::TILE_ROWS >= 6 => self.weigh::<M, 6>(tile, row),
                4.. => self.weigh::<M, 4>(tile, row),
                3 => self.weigh::<M, 3>(tile, row),
                2 => self.weigh::<M, 2>(tile, row),
                _ => self.weigh::<M, 1>(tile, row),
            };
        }
    }

    /// Copies the tile's queries together, scaled by one over the square root of their width.
    #[inline(always)]
    fn gather_queries(&mut self, tile: &Tile<'_>) {
        let width = self.attention.store.shape().head_width;
        let scale = 1.0 / (width as f32).sqrt();
        self.buffers.queries.reshape(tile.tokens * tile.group, width);
        for row in 0..self.buffers.queries.count() {
            let (token, head) = self.place(tile, row);
            let query = &self.attention.queries.row(token)[head * width..][..width];
            for (gathered, value) in self.buffers.queries.row_mut(row).iter_mut().zip(query) {
                *gathered = value * scale;
            }
        }
    }

    /// Sums the values by their weights for `ROWS` rows of the tile from `row` on. Returns `ROWS`.
    #[inline(always)]
    fn weigh<M: Machine, const ROWS: usize>(&mut self, tile: &Tile<'_>, row: usize) -> usize {
        let panels = self.attention.store.shape().panels();
        let mut panel = 0;
        while panel < panels {
            // As in the matrix product: few rows, more panels at once. It also fetches a block's values in
            // one go.
            panel += match panels - panel {
                4.. if ROWS <= 2 => self.weigh_panels::<M, ROWS, 4>(tile, row, panel),
                2.. if ROWS <= 3 => self.weigh_panels::<M, ROWS, 2>(tile, row, panel),
                _ => self.weigh_panels::<M, ROWS, 1>(tile, row, panel),
            };
        }
        ROWS
    }

    /// The part of [`Self::weigh`] for `PANELS` panels of dimensions from `first` on. Returns `PANELS`.
    #[inline(always)]
    fn weigh_panels<M: Machine, const ROWS: usize, const PANELS: usize>(
        &mut self,
        tile: &Tile<'_>,
        row: usize,
        first: usize,
    ) -> usize {
        let Attention { store, layer, heads: _, queries: _ } = *self.attention;
        let width = store.shape().head_width;
        let weights: [&[f32]; ROWS] = std::array::from_fn(|index| self.buffers.scores.row(row + index));
        let mut sums = [[[0.0; LANES]; ROWS]; PANELS];
        for (number, &slot) in tile.blocks.iter().enumerate() {
            let weights = weights.map(|row| &row[number * BLOCK_TOKENS..][..BLOCK_TOKENS]);
            let values = std::array::from_fn(|panel| store.values(slot, layer, tile.kv_head, first + panel));
            accumulate::<M, _, ROWS, PANELS>(weights, values, &mut sums);
        }
        for (panel, sums) in (first..).zip(&sums) {
            let columns = LANES.min(width - panel * LANES);
            for (row, sums) in (row..).zip(sums) {
                let (token, head) = self.place(tile, row);
                let scale = 1.0 / self.buffers.totals[row];
                let mixed = &mut self.mixed.row_mut(token)[head * width + panel * LANES..][..columns];
                for (mixed, sum) in mixed.iter_mut().zip(sums) {
                    *mixed = sum * scale;
                }
            }
        }
        PANELS
    }

    /// The row of the batch and the query head that a row of the tile stands for.
    #[inline(always)]
    fn place(&self, tile: &Tile<'_>, row: usize) -> (usize, usize) {
        let token = self.reach.row + tile.first + row / tile.group;
        (token, tile.kv_head * tile.group + row % tile.group)
    }
}
