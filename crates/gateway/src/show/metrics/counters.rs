//! Counters that are told apart by one label of few words, known beforehand: every request counts, and none looks its counter up.

use std::fmt;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;

/// A counter for each word, all of them shown from the start. Clones count together.
#[derive(Clone, Debug)]
pub(super) struct Counters<const N: usize> {
    label: &'static str,
    counters: [(&'static str, Counter); N],
}

impl<const N: usize> Counters<N> {
    /// At zero, with these values of the label.
    pub(super) fn by(label: &'static str, words: [&'static str; N]) -> Self {
        Self { label, counters: words.map(|word| (word, Counter::default())) }
    }

    /// Adds to each, in the order of the words.
    pub(super) fn add(&self, numbers: [u32; N]) {
        for ((_, counter), number) in self.counters.iter().zip(numbers) {
            counter.inc_by(number.into());
        }
    }
}

impl<const N: usize> EncodeMetric for Counters<N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (word, counter) in &self.counters {
            counter.encode(encoder.encode_family(&[(self.label, *word)])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}
