//! Rotary positions as the hub's Llama models have them: dimension `i` is paired with `i + half`.

/// The turning speeds of the pairs of a head.
pub(super) struct Rotary {
    /// Cosine and sine per position and pair.
    angles: Vec<(f32, f32)>,
    pairs: usize,
}

impl Rotary {
    /// For heads of `head_width` dimensions at positions below `context`; pair `i` turns by
    /// `theta^(-2i/head_width)` per position, in single precision throughout because that is what the models
    /// were trained with.
    pub(super) fn new(theta: f32, head_width: usize, context: usize) -> Self {
        let pairs = head_width / 2;
        let speeds: Vec<f32> =
            (0..pairs).map(|pair| 1.0 / theta.powf(2.0 * pair as f32 / head_width as f32)).collect();
        let angles = (0..context).flat_map(|position| {
            speeds.iter().map(move |speed| {
                let (sin, cos) = (position as f32 * speed).sin_cos();
                (cos, sin)
            })
        });
        Self { angles: angles.collect(), pairs }
    }

    /// Turns every head in `row` to `position`.
    pub(super) fn turn(&self, position: usize, row: &mut [f32], head_width: usize) {
        let angles = &self.angles[position * self.pairs..][..self.pairs];
        for head in row.chunks_exact_mut(head_width) {
            let (first, second) = head.split_at_mut(self.pairs);
            for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}
