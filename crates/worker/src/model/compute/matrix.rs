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

/// Weights from `inputs` to `outputs`, in panels of [`LANES`] outputs: all inputs of the first panel, then
/// the second. The last panel is padded with zeros.
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

/// Rows worked on together are as many as fit this, about half a core's second-level cache: each panel passes
/// over all of them, so they must stay near.
const NEAR_BYTES: usize = 512 << 10;

/// Up to this many rows have too few chains to keep the multipliers busy; neighbouring panels add more.
const FEW_ROWS: usize = 3;
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
            let abreast = if end - row <= FEW_ROWS { PANELS_ABREAST } else { 1 };
            for (group, lanes) in lanes.chunks(inputs * abreast).enumerate() {
                multiply::<M, W>(&Operands { rows, lanes, first: group * abreast }, row..end, products);
            }
            row = end;
        }
    }
}

/// What is multiplied: rows, and one or more neighbouring panels, of which the first is number `first` of the
/// products.
pub(in crate::model) struct Operands<'a, W> {
    pub rows: &'a Rows,
    pub lanes: &'a [W],
    pub first: usize,
}

/// Some of the rows times the panels.
#[inline(always)]
pub(in crate::model) fn multiply<M: Machine, W: Weights>(
    operands: &Operands<'_, W>,
    range: Range<usize>,
    products: &mut Rows,
) {
    let mut row = range.start;
    let mut left = range.len();
    while left > 0 {
        // One sweep for whatever is left: a panel is widened once per sweep, and a batch of decodes or the
        // last block of a prompt is a few rows only. A sweep of no rows does not come up; sizes a machine has
        // no registers for fall away.
        let done = match left.min(M::TILE_ROWS) {
            12.. if M::TILE_ROWS >= 12 => sweep::<M, W, 12, 1>(operands, row, products),
            11 if M::TILE_ROWS >= 12 => sweep::<M, W, 11, 1>(operands, row, products),
            10 if M::TILE_ROWS >= 12 => sweep::<M, W, 10, 1>(operands, row, products),
            9 if M::TILE_ROWS >= 12 => sweep::<M, W, 9, 1>(operands, row, products),
            8 if M::TILE_ROWS >= 12 => sweep::<M, W, 8, 1>(operands, row, products),
            7 if M::TILE_ROWS >= 12 => sweep::<M, W, 7, 1>(operands, row, products),
            6 if M::TILE_ROWS >= 6 => sweep::<M, W, 6, 1>(operands, row, products),
            5 if M::TILE_ROWS >= 6 => sweep::<M, W, 5, 1>(operands, row, products),
            4 => sweep::<M, W, 4, 1>(operands, row, products),
            3 => sweep::<M, W, 3, 2>(operands, row, products),
            2 => sweep::<M, W, 2, 2>(operands, row, products),
            _ => sweep::<M, W, 1, 4>(operands, row, products),
        };
        row += done;
        left -= done;
    }
}

/// `ROWS` rows times all panels in `lanes`, `PANELS` at a time while there are as many. Returns `ROWS`.
#[inline(always)]
fn sweep<M: Machine, W: Weights, const ROWS: usize, const PANELS: usize>(
    operands: &Operands<'_, W>,
    row: usize,
    products: &mut Rows,
) -> usize {
    let Operands { rows, lanes, first } = *operands;
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

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::model::compute::dispatch::on_each_machine;

    /// Numbers without a pattern, of few enough digits to be exact in half precision.
    fn number(seed: usize) -> f32 {
        (seed.wrapping_mul(2_654_435_761) >> 7 & 1023) as f32 / 512.0 - 1.0
    }

    #[test]
    fn every_finite_half_widens_exactly() {
        for bits in (0..=u16::MAX).filter(|bits| f16::from_bits(*bits).is_finite()) {
            assert_eq!(
                HalfLane([bits; LANES]).widen(),
                [f16::from_bits(bits).to_f32(); LANES],
                "{bits:#06x}"
            );
        }
    }

    #[test]
    fn every_product_is_one_chain_in_ascending_order_on_every_machine() {
        for (count, inputs, outputs) in
            [(1, 5, 3), (2, 48, 211), (3, 17, 80), (7, 64, 96), (12, 33, 31), (61, 48, 144)]
        {
            for precision in [Precision::Single, Precision::Half] {
                let weight = |k: usize, n: usize| number(k * 1_000 + n);
                let matrix = Matrix::pack((inputs, outputs), precision, weight);
                let mut rows = Rows::default();
                rows.reshape(count, inputs);
                for row in 0..count {
                    rows.row_mut(row)
                        .iter_mut()
                        .enumerate()
                        .for_each(|(k, value)| *value = number(row * 77 + k) * 0.7);
                }
                let products = on_each_machine(|| Whole { matrix: &matrix, rows: &rows });
                for (fused, products) in products {
                    for (row, n) in (0..count).flat_map(|row| (0..outputs).map(move |n| (row, n))) {
                        let chain = (0..inputs).fold(0.0, |sum, k| {
                            let (input, weight) = (rows.row(row)[k], weight(k, n));
                            if fused { input.mul_add(weight, sum) } else { input * weight + sum }
                        });
                        assert_eq!(products.row(row)[n], chain, "{count}x{inputs}x{outputs} at {row}, {n}");
                    }
                }
            }
        }
    }

    /// A product with its own place for the answer, to be run on any machine.
    struct Whole<'a> {
        matrix: &'a Matrix,
        rows: &'a Rows,
    }

    impl Task for Whole<'_> {
        type Output = Rows;

        #[inline(always)]
        fn run<M: Machine>(self) -> Rows {
            let mut products = Rows::default();
            products.reshape(self.rows.count(), self.matrix.outputs);
            match &self.matrix.panels {
                Panels::Single(lanes) => {
                    Product { lanes, rows: self.rows, products: &mut products }.run::<M>()
                }
                Panels::Half(lanes) => Product { lanes, rows: self.rows, products: &mut products }.run::<M>(),
            }
            products
        }
    }
}
