//! ggml's number encodings, widened. Block layouts as in ggml's `ggml-common.h` and `ggml-quants.c`.

use half::{bf16, f16};
use warmroute_tokens::gguf::Encoding;

use crate::model::compute::Precision;

/// What to keep the numbers in: half precision is finer than any quantisation.
pub(super) fn precision(encoding: Encoding) -> Precision {
    match encoding {
        Encoding::F32 | Encoding::Bf16 => Precision::Single,
        _ => Precision::Half,
    }
}

/// The numbers in `bytes`, which are whole blocks.
pub(super) fn widen(encoding: Encoding, bytes: &[u8]) -> Vec<f32> {
    let (numbers, size) = encoding.block();
    let mut wide = Vec::with_capacity(bytes.len() / size * numbers);
    for block in bytes.chunks_exact(size) {
        match encoding {
            Encoding::F32 => wide.push(f32::from_le_bytes(block.try_into().expect("a block is four bytes"))),
            Encoding::F16 => wide.push(half(block, 0)),
            Encoding::Bf16 => wide.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
            Encoding::Q4_0 => nibbles(&block[2..], None, |q| (q - 8.0) * half(block, 0), &mut wide),
            Encoding::Q4_1 => {
                nibbles(&block[4..], None, |q| q * half(block, 0) + half(block, 2), &mut wide);
            }
            Encoding::Q5_0 => {
                nibbles(&block[6..], Some(&block[2..6]), |q| (q - 16.0) * half(block, 0), &mut wide);
            }
            Encoding::Q5_1 => {
                let place = |q| q * half(block, 0) + half(block, 2);
                nibbles(&block[8..], Some(&block[4..8]), place, &mut wide);
            }
            Encoding::Q8_0 => {
                wide.extend(block[2..].iter().map(|q| f32::from(q.cast_signed()) * half(block, 0)));
            }
            Encoding::Q6K => six_bits(block, &mut wide),
        }
    }
    wide
}

/// The half-precision number at byte `at`.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Sixteen bytes of two numbers each: the low halves are the first sixteen numbers, the high ones the rest. A
/// fifth bit of each may be in `high`, in order.
fn nibbles(low: &[u8], high: Option<&[u8]>, place: impl Fn(f32) -> f32, wide: &mut Vec<f32>) {
    for index in 0..32 {
        let nibble = if index < 16 { low[index] & 15 } else { low[index - 16] >> 4 };
        let fifth = high.map_or(0, |high| (high[index / 8] >> (index % 8) & 1) << 4);
        wide.push(place(f32::from(nibble | fifth)));
    }
}

/// A `Q6_K` block: 128 bytes of low halves, 64 of upper bit pairs, 16 scales, their scale.
fn six_bits(block: &[u8], wide: &mut Vec<f32>) {
    let (low, rest) = block.split_at(128);
    let (high, scales) = rest.split_at(64);
    let scale = half(block, 208);
    for index in 0..256 {
        // In each half of the block four groups of 32 numbers share bytes.
        let (part, group, place) = (index / 128, index % 128 / 32, index % 32);
        let low = low[part * 64 + group % 2 * 32 + place] >> (group / 2 * 4) & 15;
        let high = high[part * 32 + place] >> (group * 2) & 3;
        let number = f32::from(low | high << 4) - 32.0;
        wide.push(scale * f32::from(scales[index / 16].cast_signed()) * number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_widen_as_ggml_does() {
        let one = f16::from_f32(1.0).to_le_bytes();
        let two = f16::from_f32(2.0).to_le_bytes();
        let ramp: Vec<u8> = (0..16).map(|low| low | (15 - low) << 4).collect();
        let up_down = |place: fn(f32) -> f32| -> Vec<f32> {
            (0..16u8).chain((0..16).rev()).map(|q| place(f32::from(q))).collect()
        };
        assert_eq!(widen(Encoding::Q4_0, &[&two[..], &ramp].concat()), up_down(|q| 2.0 * (q - 8.0)));
        assert_eq!(widen(Encoding::Q4_1, &[&two[..], &one, &ramp].concat()), up_down(|q| 2.0 * q + 1.0));
        let fifth = [0xff, 0xff, 0, 0];
        let wide = widen(Encoding::Q5_0, &[&one[..], &fifth, &ramp].concat());
        assert_eq!((wide[3], wide[19]), (3.0 + 16.0 - 16.0, 12.0 - 16.0));
        let wide = widen(Encoding::Q5_1, &[&one[..], &two, &fifth, &ramp].concat());
        assert_eq!((wide[3], wide[19]), (3.0 + 16.0 + 2.0, 12.0 + 2.0));
        let bytes: Vec<u8> = (0..32).map(|q: i8| (q - 16).cast_unsigned()).collect();
        let wide = widen(Encoding::Q8_0, &[&two[..], &bytes].concat());
        assert_eq!((wide[0], wide[31]), (-32.0, 30.0));
    }

    #[test]
    fn a_six_bit_block_widens_as_ggml_does() {
        let mut block = [0u8; 210];
        block[208..].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        block[192..208].copy_from_slice(&std::array::from_fn::<u8, 16, _>(|index| index as u8 + 1));
        // ggml: y[l + 96] takes the high nibble of ql[l + 32], bits 6 and 7 of qh[l] and scale 6 of its half.
        block[32 + 5] = 0x70;
        block[128 + 5] = 0x80;
        let wide = widen(Encoding::Q6K, &block);
        assert_eq!(wide.len(), 256);
        assert_eq!(wide[96 + 5], 0.5 * 7.0 * (7.0 + 32.0 - 32.0));
        assert_eq!(wide[0], 0.5 * 1.0 * -32.0);
        assert_eq!(wide[255], 0.5 * 16.0 * -32.0);
    }
}
