//! Chance as an argument: a seeded generator, so that the same seed makes the same decisions on every machine.

/// SplitMix64 (Steele, Lea and Flood 2014): one word of state, passes BigCrush, and simple enough to stay the same for
/// ever, which a library's "small" generator does not promise.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// A generator whose draws follow from `seed` alone.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 uniform bits.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A uniform number from 0 up to but without 1.
    pub const fn unit(&mut self) -> f64 {
        // The upper 53 bits are as many as an f64 holds.
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A uniform index below `bound`, by multiplication: the bias is under `bound` / 2^64.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "there is nothing to choose from");
        let wide = u128::from(self.draw()) * bound as u128;
        (wide >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_published_sequence() {
        let mut chance = Chance::new(1_234_567);
        let drawn = [chance.draw(), chance.draw(), chance.draw()];
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn every_index_is_drawn_about_equally_often() {
        let mut chance = Chance::new(7);
        let mut counts = [0_u32; 5];
        for _ in 0..50_000 {
            counts[chance.below(5)] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 400), "{counts:?}");
    }
}
