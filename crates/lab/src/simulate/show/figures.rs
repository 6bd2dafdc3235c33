//! How figures are written: as many digits as mean something, and a spread wherever there were several seeds.

/// The mean over seeds and how far seeds lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation over the seeds, if there are at least two.
    pub deviation: Option<f64>,
}

impl Figure {
    /// Sums up one value a seed. None at all have the mean 0.
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count();
        let mean = values.clone().sum::<f64>() / count.max(1) as f64;
        let deviation = (count > 1).then(|| {
            let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
            (squares / (count - 1) as f64).sqrt()
        });
        Self { mean, deviation }
    }

    /// The mean in seconds, with its spread to the same decimals.
    pub fn seconds(self) -> String {
        let decimals = decimals(self.mean);
        self.deviation.map_or_else(
            || seconds(self.mean),
            |deviation| format!("{} ±{deviation:.decimals$}", seconds(self.mean)),
        )
    }
}

/// Seconds to about three digits.
pub fn seconds(value: f64) -> String {
    format!("{value:.*}", decimals(value))
}

/// Milliseconds of a time in seconds, to about three digits.
pub fn milliseconds(value: f64) -> String {
    let value = 1e3 * value;
    format!("{value:.*}", usize::from(value < 100.0))
}

fn decimals(value: f64) -> usize {
    match value {
        value if value < 0.0995 => 3,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    }
}

/// A share as a percentage, to a tenth.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// How many times as much.
pub fn times(ratio: f64) -> String {
    if ratio < 9.95 { format!("{ratio:.2}x") } else { format!("{ratio:.0}x") }
}

/// Tokens in thousands or millions, where that leaves nothing out: `300k`, `1M`, `1.05M`.
pub fn tokens(count: f64) -> String {
    let (value, unit) = match count {
        count if count >= 1e6 => (count / 1e6, "M"),
        count if count >= 1e3 => (count / 1e3, "k"),
        _ => (count, ""),
    };
    format!("{}{unit}", (value * 100.0).round() / 100.0)
}

/// A count with separators between thousands.
pub fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A list in words: `a, b and c`.
pub fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_about_three_digits() {
        let shown = [0.0123, 0.567, 9.994, 12.34, 123.4].map(seconds);
        assert_eq!(shown, ["0.012", "0.57", "9.99", "12.3", "123"]);
    }

    #[test]
    fn a_spread_needs_two_seeds() {
        assert_eq!(Figure::of([0.57].into_iter()).seconds(), "0.57");
        assert_eq!(Figure::of([0.55, 0.59].into_iter()).seconds(), "0.57 ±0.03");
        assert_eq!(Figure::of(std::iter::empty()).mean, 0.0);
    }

    #[test]
    fn counts_and_tokens_can_be_read_at_a_glance() {
        assert_eq!([1.0, 999.0, 12_345.0, 1_234_567.0].map(count), ["1", "999", "12,345", "1,234,567"]);
        assert_eq!([96.0, 307_000.0, 1e6, 1_048_576.0].map(tokens), ["96", "307k", "1M", "1.05M"]);
        assert_eq!(listed(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
