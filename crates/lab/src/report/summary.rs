//! Mean and percentiles of a few hundred times: sorted and exact, since that is small enough to keep them all.

use std::time::Duration;

use serde::Serialize;

/// What a list of times comes to, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// Half took no longer.
    pub p50: f64,
    /// 95 of 100 took no longer.
    pub p95: f64,
}

impl Summary {
    /// Sums up `times`; nothing to say about none.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        let count = u32::try_from(times.len()).ok().filter(|count| *count > 0)?;
        let mean = times.iter().sum::<Duration>() / count;
        Some(Self {
            mean: milliseconds(mean),
            p50: milliseconds(times[rank(times.len(), 50)]),
            p95: milliseconds(times[rank(times.len(), 95)]),
        })
    }
}

/// Place of the nearest-rank percentile in a sorted list of `length`: the smallest value that `percent` of all reach.
fn rank(length: usize, percent: usize) -> usize {
    (length * percent).div_ceil(100).max(1) - 1
}

/// Milliseconds to the microsecond; what is below is noise and would only lengthen the JSON.
fn milliseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

/// To three decimals.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times = (1..=20).rev().map(Duration::from_millis);
        assert_eq!(Summary::of(times), Some(Summary { mean: 10.5, p50: 10.0, p95: 19.0 }));
        let one = Summary::of([Duration::from_micros(1500)]).unwrap();
        assert_eq!(one, Summary { mean: 1.5, p50: 1.5, p95: 1.5 });
        assert_eq!(Summary::of([]), None);
    }
}
