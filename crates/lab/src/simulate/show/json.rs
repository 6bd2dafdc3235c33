//! Simulated runs for scripts: one JSON object, a run a line, floats to six digits.
//!
//! Virtual time is exact, but what differs in the seventh digit is noise of the model, and would double the file.

use serde::Serialize;
use serde_json::{Number, Value};

use crate::simulate::RunReport;

/// Digits that floats keep.
const DIGITS: usize = 6;

/// A run with what its report does not say of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Told<'a> {
    /// The regime of a suite that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regime: Option<&'a str>,
    /// What happened to workers, as `--change` says it.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub changes: &'a [String],
    /// The run.
    #[serde(flatten)]
    pub run: &'a RunReport,
}

/// `{"simulated": true, "runs": [..]}` with a run a line. Keys are in the order of the structures.
///
/// # Errors
/// If a report cannot be written as JSON, which none can come to.
pub fn render<'a>(runs: impl IntoIterator<Item = Told<'a>>) -> serde_json::Result<String> {
    let lines: Result<Vec<String>, _> = runs.into_iter().map(|run| line(&run)).collect();
    Ok(format!("{{\"simulated\": true, \"runs\": [\n{}\n]}}\n", lines?.join(",\n")))
}

fn line(run: &Told<'_>) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(run)?;
    round(&mut value);
    serde_json::to_string(&value)
}

fn round(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(rounded) = number.as_f64().and_then(|number| Number::from_f64(rounded(number))) {
                *number = rounded;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(round),
        Value::Object(fields) => fields.values_mut().for_each(round),
        _ => {}
    }
}

fn rounded(number: f64) -> f64 {
    format!("{number:.*e}", DIGITS - 1).parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::super::examples::{run, with};
    use super::*;

    #[test]
    fn runs_are_marked_as_simulated_and_stand_on_lines_of_their_own() {
        let (one, other) = (run("random", 1), run("cache_aware", u64::MAX));
        let changes = ["300s:leave:3".to_owned()];
        let plain = Told { regime: None, changes: &[], run: &one };
        let of_suite = Told { regime: Some("leave"), changes: &changes, run: &other };
        let text = render([plain, of_suite]).unwrap();
        assert_eq!(text.lines().count(), 4);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["simulated"], true);
        assert_eq!(json["runs"][0].get("regime"), None);
        assert_eq!(json["runs"][1]["regime"], "leave");
        assert_eq!(json["runs"][1]["changes"][0], "300s:leave:3");
        assert_eq!(json["runs"][1]["seed"], u64::MAX, "whole numbers are not rounded");
    }

    #[test]
    fn floats_keep_six_digits() {
        let run = with("random", |run| run.ttft_s.mean = 1.0 / 3.0);
        let text = render([Told { regime: None, changes: &[], run: &run }]).unwrap();
        assert!(text.contains("\"ttft_s\":{\"mean\":0.333333,"), "{text}");
        assert_eq!([1234.56789, 0.000_123_456_789, 2.0].map(rounded), [1234.57, 0.000_123_457, 2.0]);
    }

    /// The schema is a promise to scripts: keys may be added here, never renamed or removed.
    #[test]
    fn the_json_has_the_promised_keys() {
        let run = run("random", 1);
        let text = render([Told { regime: Some("chat"), changes: &[], run: &run }]).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let keys = json["runs"][0].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(
            keys,
            "regime workload engine_model policy seed workers cache_tokens rate view gateways view_lag_s requests \
             duration_s ttft_s e2e_s tpot_s hit_rate oracle_hit_rate one_lru_hit_rate busiest_over_mean prefill_cv \
             recomputed_tokens_per_1000_requests preemptions success_rate goodput slo_share fate prediction_bias \
             prediction_error ttft_quantiles_s recovery_s timeline"
        );
    }
}
