//! A figure of several rounds: its median, and how far the rounds lie apart.

use serde::Serialize;

/// Half of the rounds were lower, half higher.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    pub median: f64,
    /// Half the distance from the least to the greatest, as a share of the median.
    pub spread: f64,
}

impl Figure {
    /// Of one value a round; rounds without a value do not count.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let [least, .., most] = values[..] else {
            return Self { median: values.first().copied().unwrap_or(f64::NAN), spread: 0.0 };
        };
        let half = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 };
        Self { median, spread: (most - least) / 2.0 / median.abs() }
    }
}

/// A table as Markdown, so that a page can show what was printed.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule =
        headings.iter().enumerate().map(|(place, _)| if place == 0 { "---" } else { "---:" }.to_owned());
    let head = line(headings.iter().map(|&heading| heading.to_owned()).collect()) + &line(rule.collect());
    rows.into_iter().map(line).fold(head, |table, row| table + &row)
}

/// As so many times another; a dash where there is no other.
pub fn times(value: f64, base: Option<f64>) -> String {
    base.map_or_else(|| "-".to_owned(), |base| format!("{:.2}x", value / base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_and_half_the_range() {
        let figure = Figure::of([3.0, 1.0, 2.0, f64::NAN]);
        assert_eq!((figure.median, figure.spread), (2.0, 0.5));
        assert_eq!(Figure::of([1.0, 3.0]).median, 2.0);
        assert_eq!(Figure::of([4.0]).median, 4.0);
    }
}
