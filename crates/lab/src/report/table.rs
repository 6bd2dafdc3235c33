//! The report for people: a table a workload, a sentence under each, nothing wider than 120 columns and no colour.

use std::fmt::Write;

use super::{PolicyReport, Report, Summary, WorkloadReport};
use crate::grid::{Emphasis, Form, Grid};

/// One column: its heading and what a row shows in it.
type Column = (&'static str, fn(&PolicyReport) -> String);

/// The columns, in order; two-line headings keep the table narrow.
const COLUMNS: &[Column] = &[
    ("policy", |row| row.policy.clone()),
    ("sent", |row| row.requests.to_string()),
    ("latency\nmean", |row| figure(row.latency_ms, |times| times.mean)),
    ("latency\nP95", |row| figure(row.latency_ms, |times| times.p95)),
    ("TTFT\nmean", |row| figure(row.ttft_ms, |times| times.mean)),
    ("TTFT\nP50", |row| figure(row.ttft_ms, |times| times.p50)),
    ("TTFT\nP95", |row| figure(row.ttft_ms, |times| times.p95)),
    ("TTFT\nwarm", |row| figure(row.ttft_warm_ms, |times| times.mean)),
    ("hit\nrate", |row| percent(Some(row.hit_rate))),
    ("oracle\nrate", |row| percent(row.oracle_hit_rate)),
    ("busy/\nmean", |row| row.busiest_over_mean.map_or_else(unknown, |ratio| format!("{ratio:.2}"))),
    ("speed-\nup", |row| times(row.speedup)),
    ("TTFT\ngain", |row| times(row.ttft_speedup)),
    ("warm\ngain", |row| times(row.ttft_warm_speedup)),
    ("answers\nequal", |row| format!("{}/{}", row.answers_equal, row.requests)),
];

/// What the headings mean, shown once under all tables.
const LEGEND: &str = "\
Times in ms. TTFT: time to first token; warm: over the requests sent after every desk had been asked once.
Hit rate: prompt tokens taken from a worker's cache; oracle: those of one cache that forgets nothing. Speed-up:
mean latency of the first policy over this one's; gains: the same for mean TTFT. Answers equal: those that are,
token for token, the answer of an empty cache.
";

/// The whole report as text.
pub fn render(report: &Report) -> String {
    let mut text = format!("{}; model {}; seed {}; ", report.machine, report.model, report.seed);
    let _ = match report.cache_tokens_per_worker {
        Some(cache) => writeln!(text, "{} workers with a cache of {cache} tokens each", report.workers),
        None => writeln!(text, "{} workers", report.workers),
    };
    for workload in &report.workloads {
        let _ = write!(text, "\n{}\n{}\n{}\n", title(workload), table(workload), conclusion(workload));
        for row in &workload.policies {
            for failure in &row.failures {
                let _ =
                    writeln!(text, "  {}: {} of {} failed: {failure}", row.policy, row.failed, row.requests);
            }
        }
    }
    let _ = write!(text, "\n{LEGEND}");
    text
}

fn title(workload: &WorkloadReport) -> String {
    let WorkloadReport { name, requests, clients, set_tokens, .. } = workload;
    let plural = if *clients == 1 { "" } else { "s" };
    format!(
        "{name}: {requests} requests over {set_tokens} tokens of shared prompts, {clients} client{plural}"
    )
}

fn table(workload: &WorkloadReport) -> String {
    let mut grid = Grid::new(1, COLUMNS.iter().map(|(heading, _)| *heading));
    for row in &workload.policies {
        grid.row(COLUMNS.iter().map(|(_, show)| show(row)), Emphasis::None);
    }
    grid.render(Form::Plain)
}

/// The last policy against the first, in a sentence.
fn conclusion(workload: &WorkloadReport) -> String {
    let (Some(first), Some(last)) = (workload.policies.first(), workload.policies.last()) else {
        return String::new();
    };
    let mut parts = Vec::new();
    let mut subject = last.policy.clone();
    if let (true, Some(gain), Some(warm)) =
        (workload.policies.len() > 1, last.ttft_speedup, last.ttft_warm_speedup)
    {
        let _ = write!(subject, " vs {}", first.policy);
        parts.push(format!("TTFT {gain:.1}x better, warm {warm:.1}x"));
    }
    if let Some(oracle) = last.oracle_hit_rate.filter(|oracle| *oracle > 0.0) {
        parts.push(format!("{:.1}% of oracle hits", 100.0 * last.hit_rate / oracle));
    }
    if let Some(ratio) = last.busiest_over_mean {
        parts.push(format!("busiest/mean {ratio:.2}"));
    }
    parts.push(format!("{}/{} equal", last.answers_equal, last.requests));
    format!("{subject}: {}.", parts.join("; "))
}

fn figure(summary: Option<Summary>, of: fn(Summary) -> f64) -> String {
    // Below a second a tenth of a millisecond can be told from noise; above, it only takes room.
    let show = |time: f64| if time < 1e3 { format!("{time:.1}") } else { format!("{time:.0}") };
    summary.map_or_else(unknown, |summary| show(of(summary)))
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(unknown, |share| format!("{:.1}%", 100.0 * share))
}

fn times(ratio: Option<f64>) -> String {
    let show = |ratio: f64| if ratio < 9.95 { format!("{ratio:.2}x") } else { format!("{ratio:.1}x") };
    ratio.map_or_else(unknown, show)
}

fn unknown() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn the_table_fits_120_columns_with_the_longest_figures() {
        let mut report = example();
        let long = Some(Summary { mean: 999.9, p50: 999.9, p95: 123_456.7 });
        for row in &mut report.workloads[0].policies {
            row.policy = "power_of_two".to_owned();
            (row.latency_ms, row.ttft_ms, row.ttft_warm_ms) = (long, long, long);
            (row.speedup, row.ttft_speedup, row.ttft_warm_speedup) = (Some(12.3), Some(12.3), Some(12.3));
            (row.requests, row.answers, row.answers_equal) = (288, 288, 288);
        }
        let text = render(&report);
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }

    #[test]
    fn failures_are_quoted_under_their_table() {
        let text = render(&example());
        assert!(text.contains("cache_aware: 1 of 4 failed: the worker is gone"), "{text}");
        assert!(text.contains("cache_aware vs random: TTFT 2.0x better, warm 2.7x; "), "{text}");
        assert!(!text.contains('\u{1b}'), "no colour");
    }

    #[test]
    fn the_example_renders_as_expected() {
        let text = render(&example());
        let row = text.lines().find(|line| line.starts_with("cache_aware ")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            cells.join(" "),
            "cache_aware 4 40.0 60.0 20.0 20.0 30.0 15.0 53.3% 40.0% 3.00 2.00x 2.00x 2.67x 2/4"
        );
    }
}
