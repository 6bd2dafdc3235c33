//! Exponential, activations and norms, written so that the compiler can vectorise them.
//!
//! Sums run in [`LANES`] chains by position in the row and are folded in a fixed order: like the matrix
//! product, a row's result depends on that row alone.

use super::dispatch::{Machine, Task, dispatch};
use super::rows::Rows;
use super::tile::LANES;

/// e^x to about one unit in the seventh digit, for x within ±87 (clamped to it). Cephes' `expf` polynomial.
#[inline(always)]
pub(super) fn exp<M: Machine>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 87.0);
    let rounded = M::mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let power = rounded - ROUND;
    let rest = M::mul_add(power, -LN_2_LOW, M::mul_add(power, -LN_2_HIGH, x));
    let mut series = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.0e-1] {
        series = M::mul_add(series, rest, coefficient);
    }
    let small = M::mul_add(series * rest, rest, rest) + 1.0;
    f32::from_bits(small.to_bits().wrapping_add(rounded.to_bits() << 23))
}

/// x / (1 + e^-x), also known as swish.
#[inline(always)]
fn silu<M: Machine>(x: f32) -> f32 {
    x / (1.0 + exp::<M>(-x))
}

/// GPT-2's `gelu_new`, 0.5 x (1 + tanh(u)), in the equal form x / (1 + e^-2u).
#[inline(always)]
fn gelu<M: Machine>(x: f32) -> f32 {
    const TWICE_ROOT_2_OVER_PI: f32 = 1.595_769;
    let u = TWICE_ROOT_2_OVER_PI * M::mul_add(0.044_715 * x * x, x, x);
    x / (1.0 + exp::<M>(-u))
}

/// The sum of `term(value)` over a row.
#[inline(always)]
pub(super) fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += term(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += term(*value);
    }
    sums.iter().sum()
}

/// Turns the first `length` scores of a row into weights, e^(score - highest), and the rest into exact zeros.
/// Returns the sum of the weights.
#[inline(always)]
pub(in crate::model) fn softmax<M: Machine>(scores: &mut [f32], length: usize) -> f32 {
    let (seen, unseen) = scores.split_at_mut(length);
    unseen.fill(0.0);
    let mut highest = [f32::NEG_INFINITY; LANES];
    for chunk in seen.chunks(LANES) {
        for (highest, score) in highest.iter_mut().zip(chunk) {
            *highest = highest.max(*score);
        }
    }
    let highest = highest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    for score in seen.iter_mut() {
        *score = exp::<M>(*score - highest);
    }
    sum(seen, |weight| weight)
}

/// An activation between the two halves of a feed-forward layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::model) enum Activation {
    /// `gelu_new`, the tanh form.
    Gelu,
    /// The left half of a row through SiLU, times its right half.
    GatedSilu,
}

impl Activation {
    /// Applies it to `rows`; the result is in `active`.
    pub(in crate::model) fn apply(self, rows: &Rows, active: &mut Rows) {
        let width = if self == Self::GatedSilu { rows.width() / 2 } else { rows.width() };
        active.reshape(rows.count(), width);
        dispatch(Activate { activation: self, rows, active });
    }
}

struct Activate<'a> {
    activation: Activation,
    rows: &'a Rows,
    active: &'a mut Rows,
}

impl Task for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        for index in 0..self.rows.count() {
            let row = self.rows.row(index);
            let active = self.active.row_mut(index);
            match self.activation {
                Activation::Gelu => {
                    for (active, value) in active.iter_mut().zip(row) {
                        *active = gelu::<M>(*value);
                    }
                }
                Activation::GatedSilu => {
                    let (gate, up) = row.split_at(active.len());
                    for (active, (gate, up)) in active.iter_mut().zip(gate.iter().zip(up)) {
                        *active = silu::<M>(*gate) * up;
                    }
                }
            }
        }
    }
}

/// A normalisation over the width of a row.
#[derive(Debug)]
pub(in crate::model) struct Norm {
    /// Scale per column.
    pub weight: Vec<f32>,
    /// Offset per column: present in a layer norm, which also centres the row; absent in an RMS norm.
    pub bias: Option<Vec<f32>>,
    /// Added to the variance, against division by nothing.
    pub epsilon: f32,
}

impl Norm {
    /// Normalises `rows` into `normal`.
    pub(in crate::model) fn apply(&self, rows: &Rows, normal: &mut Rows) {
        normal.reshape(rows.count(), rows.width());
        dispatch(Normalise { norm: self, rows, normal });
    }
}

struct Normalise<'a> {
    norm: &'a Norm,
    rows: &'a Rows,
    normal: &'a mut Rows,
}

impl Task for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let width = self.rows.width() as f32;
        for index in 0..self.rows.count() {
            let row = self.rows.row(index);
            let mean = if self.norm.bias.is_some() { sum(row, |value| value) / width } else { 0.0 };
            let variance = sum(row, |value| (value - mean) * (value - mean)) / width;
            let scale = 1.0 / (variance + self.norm.epsilon).sqrt();
            let normal = self.normal.row_mut(index);
            for ((normal, value), weight) in normal.iter_mut().zip(row).zip(&self.norm.weight) {
                *normal = (value - mean) * scale * weight;
            }
            for (normal, bias) in normal.iter_mut().zip(self.norm.bias.iter().flatten()) {
                *normal += bias;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fused;
    impl Machine for Fused {
        const FUSED: bool = true;
        const TILE_ROWS: usize = 6;
    }

    #[test]
    fn the_exponential_is_good_to_a_few_millionths() {
        for step in -87_000..87_000 {
            let x = step as f32 / 1000.0;
            let exact = f64::from(x).exp();
            let error = ((f64::from(exp::<Fused>(x)) - exact) / exact).abs();
            assert!(error < 5e-7, "exp({x}) is off by a factor of {error:e}");
        }
    }

    #[test]
    fn gelu_equals_its_tanh_form() {
        for step in -2_000..2_000 {
            let x = f64::from(step) / 100.0;
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            let exact = 0.5 * x * (1.0 + u.tanh());
            let ours = f64::from(gelu::<Fused>(x as f32));
            assert!((ours - exact).abs() < 2e-6 * x.abs().max(1.0), "gelu({x}) is {ours}, expected {exact}");
        }
    }
}
