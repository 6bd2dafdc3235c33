//! Causal attention of one span's new tokens over everything its sequence has in the store.
//!
//! For each token: scores of all earlier tokens, their softmax, the weighted sum of their values; three passes, no running
//! rescaling, because the order of every sum must be the order of positions whatever the chunk. Tokens are taken a tile at
//! a time so that a block fetched from memory serves many rows; query heads that share a key-value head share the tile.

use warmroute_kv::Slot;

use super::compute::{LANES, Machine, Rows, Task, accumulate, dispatch, multiply, softmax};
use super::store::{BLOCK_TOKENS, KvStore};

/// Rows (tokens times heads that share keys) worked on together: their scores over a long prompt still fit the cache.
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
                let tile = Tile { kv_head, group, first, tokens: tokens.min(self.reach.count - first) };
                self.attend_tile::<M>(&tile);
                first += tile.tokens;
            }
        }
    }
}

/// Some tokens of the span and the query heads of one key-value head: row `token * group + head` of the buffers.
struct Tile {
    kv_head: usize,
    group: usize,
    first: usize,
    tokens: usize,
}

impl Attend<'_> {
    #[inline(always)]
    fn attend_tile<M: Machine>(&mut self, tile: &Tile) {
        let last = self.reach.start + tile.first + tile.tokens - 1;
        let blocks = &self.reach.slots[..=last / BLOCK_TOKENS];
        self.gather_queries(tile);
        let Attention { store, layer, .. } = *self.attention;
        let AttentionBuffers { queries, scores, totals } = &mut *self.buffers;
        scores.reshape(queries.count(), blocks.len() * BLOCK_TOKENS);
        for (number, &slot) in blocks.iter().enumerate() {
            multiply::<M, _>(queries, 0..queries.count(), store.keys(slot, layer, tile.kv_head), scores, number);
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
                12.. if M::TILE_ROWS >= 12 => self.weigh::<M, 12>(tile, blocks, row),
                6.. if M::TILE_ROWS >= 6 => self.weigh::<M, 6>(tile, blocks, row),
                4.. => self.weigh::<M, 4>(tile, blocks, row),
                2.. => self.weigh::<M, 2>(tile, blocks, row),
                _ => self.weigh::<M, 1>(tile, blocks, row),
            };
        }
    }

    /// Copies the tile's queries together, scaled by one over the square root of their width.
    #[inline(always)]
    fn gather_queries(&mut self, tile: &Tile) {
        let width = self.attention.store.shape().head_width;
        let scale = 1.0 / (width as f32).sqrt();
        self.buffers.queries.reshape(tile.tokens * tile.group, width);
        for row in 0..self.buffers.queries.count() {
            let token = self.reach.row + tile.first + row / tile.group;
            let head = tile.kv_head * tile.group + row % tile.group;
            let query = &self.attention.queries.row(token)[head * width..][..width];
            for (gathered, value) in self.buffers.queries.row_mut(row).iter_mut().zip(query) {
                *gathered = value * scale;
            }
        }
    }

    /// Sums the values by their weights for `ROWS` rows of the tile from `row` on. Returns `ROWS`.
    #[inline(always)]
    fn weigh<M: Machine, const ROWS: usize>(&mut self, tile: &Tile, blocks: &[Slot], row: usize) -> usize {
        let Attention { store, layer, .. } = *self.attention;
        let shape = store.shape();
        let weights: [&[f32]; ROWS] = std::array::from_fn(|index| self.buffers.scores.row(row + index));
        for panel in 0..shape.panels() {
            let mut sums = [[[0.0; LANES]; ROWS]; 1];
            for (number, &slot) in blocks.iter().enumerate() {
                let weights = weights.map(|row| &row[number * BLOCK_TOKENS..][..BLOCK_TOKENS]);
                accumulate::<M, _, ROWS, 1>(weights, [store.values(slot, layer, tile.kv_head, panel)], &mut sums);
            }
            let columns = LANES.min(shape.head_width - panel * LANES);
            for (index, sums) in sums[0].iter().enumerate() {
                let token = self.reach.row + tile.first + (row + index) / tile.group;
                let head = tile.kv_head * tile.group + (row + index) % tile.group;
                let start = head * shape.head_width + panel * LANES;
                let scale = 1.0 / self.buffers.totals[row + index];
                for (mixed, sum) in self.mixed.row_mut(token)[start..][..columns].iter_mut().zip(sums) {
                    *mixed = sum * scale;
                }
            }
        }
        ROWS
    }
}
