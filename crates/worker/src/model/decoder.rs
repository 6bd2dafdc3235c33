//! The forward pass of a decoder-only transformer; GPT-2 and Llama differ in which parts they fill in.
//!
//! Own arithmetic instead of a tensor library's, because the library's matrix product may sum in another
//! order for another number of rows, and then a cached answer would differ from an uncached one in the last
//! bits and, sooner or later, in a word.

use std::fmt;

use warmroute_kv::{Blocks, Slot};

use super::Span;
use super::attention::{Attention, AttentionBuffers, Reach};
use super::compute::{Activation, Matrix, Norm, Rows};
use super::rotary::Rotary;
use super::store::{BLOCK_TOKENS, KvShape, KvStore};

/// A decoder-only transformer, GPT-2 or Llama shaped.
pub struct Model {
    pub(super) shape: KvShape,
    /// Query heads.
    pub(super) heads: usize,
    /// From token to row, one output per token; also the head where `head` is `None`.
    pub(super) embedding: Matrix,
    pub(super) positions: Positions,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Norm,
    /// From row to logits, where it is not the embedding.
    pub(super) head: Option<Matrix>,
}

/// How a model knows where a token stands.
pub(super) enum Positions {
    /// A learned row per position, added to the token's.
    Learned(Matrix),
    /// Queries and keys are turned by an angle that grows with the position.
    Rotary(Rotary),
}

/// One transformer layer.
pub(super) struct Layer {
    pub attention_norm: Norm,
    /// To queries, keys and values side by side.
    pub attention_in: Linear,
    pub attention_out: Linear,
    pub feed_norm: Norm,
    pub feed_in: Linear,
    pub activation: Activation,
    pub feed_out: Linear,
}

/// A matrix and, in GPT-2, an offset.
pub(super) struct Linear {
    pub matrix: Matrix,
    pub bias: Option<Vec<f32>>,
}

impl Linear {
    fn apply(&self, rows: &Rows, products: &mut Rows) {
        self.matrix.product(rows, products);
        if let Some(bias) = &self.bias {
            for index in 0..products.count() {
                add(products.row_mut(index), bias);
            }
        }
    }
}

fn add(row: &mut [f32], other: &[f32]) {
    for (value, other) in row.iter_mut().zip(other) {
        *value += other;
    }
}

/// Buffers a step needs, kept between steps so that a step does not allocate. One per worker thread.
#[derive(Debug, Default)]
pub struct Scratch {
    rows: Rows,
    normal: Rows,
    wide: Rows,
    active: Rows,
    mixed: Rows,
    attention: AttentionBuffers,
}

impl Model {
    /// Number of token ids; a row of logits has this many.
    pub fn vocabulary(&self) -> usize {
        self.embedding.outputs()
    }

    /// An empty cache of `capacity` blocks in this model's shape.
    pub fn new_store(&self, capacity: Blocks) -> KvStore {
        KvStore::new(self.shape, capacity)
    }

    /// One step over a batch of prompt chunks and decodes, mixed as the caller likes. Writes the keys and
    /// values of all new tokens into `store` and returns one row of logits per span that asked, in batch
    /// order.
    ///
    /// Spans must not write the same block; sharing blocks that lie wholly before both their `start`s is
    /// fine.
    ///
    /// # Panics
    /// If a token id is not below [`Self::vocabulary`], a span is empty, has too few slots or runs past the
    /// model's context, or `store` is another model's: callers check all of these at the edge.
    pub fn forward(&self, batch: &[Span<'_>], store: &mut KvStore, scratch: &mut Scratch) -> Vec<Vec<f32>> {
        assert_eq!(store.shape(), self.shape, "a store serves the model it was made for");
        let places: Vec<(usize, Slot)> = batch.iter().flat_map(places).collect();
        self.embed(batch, &mut scratch.rows);
        for (number, layer) in self.layers.iter().enumerate() {
            self.project(number, &places, store, scratch);
            self.mix(number, batch, store, scratch);
            if self.is_last(number) {
                // Nobody looks at the other rows any more: only their keys and values were still wanted.
                let asked = asked_rows(batch);
                scratch.rows.keep(&asked);
                scratch.mixed.keep(&asked);
            }
            layer.feed(scratch);
        }
        self.norm.apply(&scratch.rows, &mut scratch.normal);
        self.head.as_ref().unwrap_or(&self.embedding).product(&scratch.normal, &mut scratch.wide);
        (0..scratch.wide.count()).map(|index| scratch.wide.row(index).to_vec()).collect()
    }

    fn embed(&self, batch: &[Span<'_>], rows: &mut Rows) {
        let width = self.norm.weight.len();
        rows.reshape(batch.iter().map(|span| span.tokens.len()).sum(), width);
        let mut learned = vec![0.0; width];
        let tokens = batch.iter().flat_map(|span| (span.start..).zip(span.tokens));
        for (index, (position, &token)) in tokens.enumerate() {
            let row = rows.row_mut(index);
            self.embedding.column_into(token as usize, row);
            if let Positions::Learned(matrix) = &self.positions {
                matrix.column_into(position, &mut learned);
                add(row, &learned);
            }
        }
    }

    fn is_last(&self, layer: usize) -> bool {
        layer + 1 == self.layers.len()
    }

    /// The first half of attention in one layer: queries of all rows, turned to their positions; new keys and
    /// values into the store.
    fn project(&self, number: usize, places: &[(usize, Slot)], store: &mut KvStore, scratch: &mut Scratch) {
        let layer = &self.layers[number];
        layer.attention_norm.apply(&scratch.rows, &mut scratch.normal);
        layer.attention_in.apply(&scratch.normal, &mut scratch.wide);
        let query_width = self.heads * self.shape.head_width;
        let key_width = self.shape.kv_heads * self.shape.head_width;
        for (index, &(position, slot)) in places.iter().enumerate() {
            let row = scratch.wide.row_mut(index);
            if let Positions::Rotary(rotary) = &self.positions {
                rotary.turn(position, &mut row[..query_width + key_width], self.shape.head_width);
            }
            let (keys, values) = row[query_width..].split_at(key_width);
            store.write((slot, position % BLOCK_TOKENS), number, keys, values);
        }
    }

    /// The second half: each row's look back over its sequence, into `mixed`. After all writes of the step,
    /// so that the spans need no order; a span reads only its own writes and older blocks.
    fn mix(&self, number: usize, batch: &[Span<'_>], store: &KvStore, scratch: &mut Scratch) {
        scratch.mixed.reshape(scratch.rows.count(), self.heads * self.shape.head_width);
        let attention = Attention { store, layer: number, heads: self.heads, queries: &scratch.wide };
        let mut row = 0;
        for span in batch {
            let count = span.tokens.len();
            // After the last layer only the rows that asked are looked at.
            let skipped = if self.is_last(number) { if span.logits { count - 1 } else { count } } else { 0 };
            let (start, first) = (span.start + skipped, row + skipped);
            let reach = Reach { slots: span.slots, start, row: first, count: count - skipped };
            attention.apply(reach, &mut scratch.mixed, &mut scratch.attention);
            row += count;
        }
    }
}

impl Layer {
    /// What follows attention: `mixed` into `rows`, then the feed-forward half.
    fn feed(&self, scratch: &mut Scratch) {
        self.attention_out.apply(&scratch.mixed, &mut scratch.wide);
        add_rows(&mut scratch.rows, &scratch.wide);
        self.feed_norm.apply(&scratch.rows, &mut scratch.normal);
        self.feed_in.apply(&scratch.normal, &mut scratch.wide);
        self.activation.apply(&scratch.wide, &mut scratch.active);
        self.feed_out.apply(&scratch.active, &mut scratch.wide);
        add_rows(&mut scratch.rows, &scratch.wide);
    }
}

/// The position of each new token and the block it goes to.
fn places<'a>(span: &Span<'a>) -> impl Iterator<Item = (usize, Slot)> + use<'a> {
    let Span { slots, start, tokens, .. } = *span;
    (start..start + tokens.len()).map(move |position| (position, slots[position / BLOCK_TOKENS]))
}

/// The last row of each span that asked for logits.
fn asked_rows(batch: &[Span<'_>]) -> Vec<usize> {
    let ends = batch.iter().scan(0, |end, span| {
        *end += span.tokens.len();
        Some((*end - 1, span.logits))
    });
    ends.filter_map(|(last, asked)| asked.then_some(last)).collect()
}

fn add_rows(rows: &mut Rows, others: &Rows) {
    for index in 0..rows.count() {
        add(rows.row_mut(index), others.row(index));
    }
}

impl fmt::Debug for Model {
    /// The shape only: nobody wants to read the weights.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Model")
            .field("shape", &self.shape)
            .field("heads", &self.heads)
            .field("vocabulary", &self.vocabulary())
            .finish_non_exhaustive()
    }
}
