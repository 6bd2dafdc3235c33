//! The inner kernel: a few rows times one panel of [`LANES`] outputs.
//!
//! Every output is **one** chain of multiply-adds over the inputs in ascending order, whatever the number of
//! rows worked on together, so a row's result never depends on its neighbours. Speed comes from having many
//! such chains in flight, not from splitting one.

use super::dispatch::Machine;

/// Outputs computed side by side: one AVX-512 register, two AVX2, four SSE or NEON.
pub(in crate::model) const LANES: usize = 16;

/// The operands of [`LANES`] outputs for one input; aligned so that a vector load never straddles cache
/// lines.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub(in crate::model) struct Lane(pub [f32; LANES]);

/// The same in half precision, as raw bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(32))]
pub(in crate::model) struct HalfLane(pub [u16; LANES]);

/// A panel element: [`LANES`] weights in some precision.
pub(in crate::model) trait Weights: Copy {
    /// The weights in single precision.
    fn widen(&self) -> [f32; LANES];
}

impl Weights for Lane {
    #[inline(always)]
    fn widen(&self) -> [f32; LANES] {
        self.0
    }
}

impl Weights for HalfLane {
    /// Exact for every finite half: the bits, moved to a single's place, are a number 2^112 too small
    /// (subnormals included). Infinities and NaN come out wrong, which is why packing refuses them. Written
    /// in integer operations because the compiler vectorises those on any machine and a call to a converter
    /// it could not inline.
    #[inline(always)]
    fn widen(&self) -> [f32; LANES] {
        let mut wide = [0.0; LANES];
        for (wide, half) in wide.iter_mut().zip(self.0) {
            let moved = (i32::from(half.cast_signed()) << 13) as u32 & 0x8fff_ffff;
            *wide = f32::from_bits(moved) * f32::from_bits((127 + 112) << 23);
        }
        wide
    }
}

/// Continues the chains `sums[panel][row]` over one panel each: `inputs[row]` against `panels[panel]`.
#[inline(always)]
pub(in crate::model) fn accumulate<M: Machine, W: Weights, const ROWS: usize, const PANELS: usize>(
    inputs: [&[f32]; ROWS],
    panels: [&[W]; PANELS],
    sums: &mut [[[f32; LANES]; ROWS]; PANELS],
) {
    let length = panels[0].len();
    // Equal lengths, told to the compiler before the loop, keep bounds checks out of it.
    let inputs = inputs.map(|row| &row[..length]);
    let panels = panels.map(|panel| &panel[..length]);
    let mut chains = *sums;
    for k in 0..length {
        for panel in 0..PANELS {
            let weights = panels[panel][k].widen();
            for row in 0..ROWS {
                let input = inputs[row][k];
                for lane in 0..LANES {
                    chains[panel][row][lane] = M::mul_add(input, weights[lane], chains[panel][row][lane]);
                }
            }
        }
    }
    *sums = chains;
}
