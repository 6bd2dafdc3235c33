//! A weight matrix packed for the kernel, and its product with rows of activations.

use std::ops::Range;

use half::f16;

use super::dispatch::{Machine, Task, dispatch};
use super::rows::Rows;
use super::tile::{HalfLane, LANES, Lane, Weights, accumulate};

/// How weights are kept in memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::model) enum Precision {
    /// For checkpoints in single precision or bfloat16, which half precision cannot hold.
    Single,
    /// For checkpoints in half precision or quantised below it.
    Half,
}

/// Weights from `inputs` to `outputs`, in panels of [`LANES`] outputs: all inputs of the first panel, then the second.
/// The last panel is padded with zeros.
#[derive(Debug)]
pub(in crate::model) struct Matrix {
    inputs: usize,
    outputs: usize,
    panels: Panels,
}

#[derive(Debug)]
enum Panels {
    Single(Vec<Lane>),
    Half(Vec<HalfLane>),
}

/// Rows worked on together are as many as fit this, about half a core's second-level cache: each panel passes over all
/// of them, so they must stay near.
const NEAR_BYTES: usize = 512 << 10;

/// With few rows their chains are too few to keep the multipliers busy; neighbouring panels add more.
const PANELS_ABREAST: usize = 4;

impl Matrix {
    /// Packs a matrix whose weight from input `k` to output `n` is `weight(k, n)`.
    pub(in crate::model) fn pack(
        (inputs, outputs): (usize, usize),
        precision: Precision,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let cell = |panel: usize, k: usize, lane: usize| {
            let output = panel * LANES + lane;
            if output < outputs { weight(k, output) } else { 0.0 }
        };
        let places = (0..outputs.div_ceil(LANES)).flat_map(|panel| (0..inputs).map(move |k| (panel, k)));
        let panels = match precision {
            Precision::Single => Panels::Single(
                places.map(|(panel, k)| Lane(std::array::from_fn(|lane| cell(panel, k, lane)))).collect(),
            ),
            Precision::Half => Panels::Half(
                places
                    .map(|(panel, k)| {
                        HalfLane(std::array::from_fn(|lane| f16::from_f32(cell(panel, k, lane)).to_bits()))
                    })
                    .collect(),
            ),
        };
        Self { inputs, outputs, panels }
    }

    /// Outputs, without padding.
    pub(in crate::model) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The weights of all inputs to one output: an embedding's row.
    pub(in crate::model) fn column_into(&self, output: usize, column: &mut [f32]) {
        let (panel, lane) = (output / LANES, output % LANES);
        let range = panel * self.inputs..(panel + 1) * self.inputs;
        match &self.panels {
            Panels::Single(lanes) => {
                for (value, weights) in column.iter_mut().zip(&lanes[range]) {
                    *value = weights.0[lane];
                }
            }
            Panels::Half(lanes) => {
                for (value, weights) in column.iter_mut().zip(&lanes[range]) {
                    *value = f16::from_bits(weights.0[lane]).to_f32();
                }
            }
        }
    }

    /// `rows` times this matrix, into `products`.
    pub(in crate::model) fn product(&self, rows: &Rows, products: &mut Rows) {
        debug_assert_eq!(rows.width(), self.inputs);
        products.reshape(rows.count(), self.outputs);
        match &self.panels {
            Panels::Single(lanes) => dispatch(Product { lanes, rows, products }),
            Panels::Half(lanes) => dispatch(Product { lanes, rows, products }),
        }
    }
}

struct Product<'a, W> {
    lanes: &'a [W],
    rows: &'a Rows,
    products: &'a mut Rows,
}

impl<W: Weights> Task for Product<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Self { lanes, rows, products } = self;
        let inputs = rows.width();
        let near = (NEAR_BYTES / (inputs * size_of::<f32>())).next_multiple_of(M::TILE_ROWS);
        let mut row = 0;
        while row < rows.count() {
            let end = rows.count().min(row + near);
            let abreast = if end - row < M::TILE_ROWS { PANELS_ABREAST } else { 1 };
            for (group, lanes) in lanes.chunks(inputs * abreast).enumerate() {
                multiply::<M, W>(rows, row..end, lanes, products, group * abreast);
            }
            row = end;
        }
    }
}

/// Some rows times one or more neighbouring panels, of which the first is number `first`.
#[inline(always)]
pub(in crate::model) fn multiply<M: Machine, W: Weights>(rows: &Rows, range: Range<usize>, lanes: &[W], products: &mut Rows, first: usize) {
    let mut row = range.start;
    let mut left = range.len();
    while left > 0 {
        let done = if left >= 12 && M::TILE_ROWS >= 12 {
            sweep::<M, W, 12, 1>(rows, row, lanes, products, first)
        } else if left >= 6 && M::TILE_ROWS >= 6 {
            sweep::<M, W, 6, 1>(rows, row, lanes, products, first)
        } else if left >= 4 {
            sweep::<M, W, 4, 1>(rows, row, lanes, products, first)
        } else if left >= 2 {
            sweep::<M, W, 2, 2>(rows, row, lanes, products, first)
        } else {
            sweep::<M, W, 1, 4>(rows, row, lanes, products, first)
        };
        row += done;
        left -= done;
    }
}

/// `ROWS` rows times all panels in `lanes`, `PANELS` at a time while there are as many. Returns `ROWS`.
#[inline(always)]
fn sweep<M: Machine, W: Weights, const ROWS: usize, const PANELS: usize>(
    rows: &Rows,
    row: usize,
    lanes: &[W],
    products: &mut Rows,
    first: usize,
) -> usize {
    let inputs: [&[f32]; ROWS] = std::array::from_fn(|index| rows.row(row + index));
    let length = rows.width();
    let mut panel = first;
    let mut groups = lanes.chunks_exact(length * PANELS);
    for group in &mut groups {
        let panels: [&[W]; PANELS] = std::array::from_fn(|index| &group[index * length..][..length]);
        let mut sums = [[[0.0; LANES]; ROWS]; PANELS];
        accumulate::<M, W, ROWS, PANELS>(inputs, panels, &mut sums);
        for sums in sums {
            for (index, sum) in sums.into_iter().enumerate() {
                *products.panel_mut(row + index, panel) = sum;
            }
            panel += 1;
        }
    }
    for lanes in groups.remainder().chunks_exact(length) {
        let mut sums = [[[0.0; LANES]; ROWS]; 1];
        accumulate::<M, W, ROWS, 1>(inputs, [lanes], &mut sums);
        for (index, sum) in sums[0].into_iter().enumerate() {
            *products.panel_mut(row + index, panel) = sum;
        }
        panel += 1;
    }
    ROWS
}
