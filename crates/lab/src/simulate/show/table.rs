//! A table for each setting: a row a policy, and under it in words who won and how far ours is from that.

use super::Section;
use super::figures::{count, milliseconds, percent, seconds, times};
use super::summary::{Group, OURS, Row};
use crate::grid::{Emphasis, Grid};
use crate::simulate::RunReport;

/// One column: its heading and what a row shows in it; the best row of its table helps with ratios.
type Column = (&'static str, fn(&Row<'_>, &Row<'_>) -> String);

/// The columns, in order; with three seeds and the longest names they fit 120 columns of a terminal.
const COLUMNS: &[Column] = &[
    ("policy", |row, _| row.policy.to_owned()),
    ("TTFT\nmean", |row, _| row.figure(|run| run.ttft_s.mean).seconds()),
    ("\np50", |row, _| seconds(mean(row, |run| run.ttft_s.p50))),
    ("\np90", |row, _| seconds(mean(row, |run| run.ttft_s.p90))),
    ("\np99", |row, _| seconds(mean(row, |run| run.ttft_s.p99))),
    ("e2e\nmean", |row, _| row.figure(|run| run.e2e_s.mean).seconds()),
    ("TPOT\nms", |row, _| milliseconds(mean(row, |run| run.tpot_s.mean))),
    ("hit\nrate", |row, _| percent(mean(row, |run| run.hit_rate))),
    ("of\noracle", |row, _| percent(mean(row, of_oracle))),
    ("busy/\nmean", |row, _| format!("{:.2}", mean(row, |run| run.busiest_over_mean))),
    ("suc-\ncess", |row, _| percent(mean(row, |run| run.success_rate))),
    ("good-\nput", |row, _| seconds(mean(row, |run| run.goodput))),
    (
        "vs\nbest",
        |row, best| if row.policy == best.policy { "best".to_owned() } else { times(row.ratio_to(best)) },
    ),
];

/// What `--wide` adds.
const MORE_COLUMNS: &[Column] = &[
    ("one\nLRU", |row, _| percent(mean(row, |run| run.one_lru_hit_rate))),
    ("within\nSLO", |row, _| percent(mean(row, |run| run.slo_share))),
    ("prefill\nCV", |row, _| format!("{:.2}", mean(row, |run| run.prefill_cv))),
    ("recomputed\nper 1,000", |row, _| count(mean(row, |run| run.recomputed_tokens_per_1000_requests))),
    ("preemp-\ntions", |row, _| count(mean(row, |run| run.preemptions as f64))),
    ("lost to\nload", |row, _| percent(mean(row, |run| run.fate.lost_to_load))),
    ("lost to\neviction", |row, _| percent(mean(row, |run| run.fate.lost_to_eviction))),
    ("un-\nseen", |row, _| percent(mean(row, |run| run.fate.unseen))),
    ("predicted\nminus hit", |row, _| percent(mean(row, |run| run.prediction_bias))),
    ("wrongly\npredicted", |row, _| percent(mean(row, |run| run.prediction_error))),
];

/// What the headings mean, to be shown once under all tables.
pub const LEGEND: &str = "\
Simulated, not measured: virtual seconds of modelled engines; ± is the standard deviation over seeds.
TTFT: time to first token. e2e: time to the last. TPOT: time per further token. Hit rate: prompt tokens not computed;
of oracle: over what a cache without end would hit; one LRU: what a single cache of the fleet's size would.
Busy/mean: prompt tokens computed on the busiest worker over the mean. Goodput: requests a second within the
objectives (SLO). Vs best: mean TTFT over the least of the table.
";

/// How much a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// What fits 120 columns.
    Usual,
    /// Everything.
    Wide,
}

/// One table for each setting of `runs`.
pub fn sections(runs: &[RunReport], width: Width) -> Vec<Section> {
    Group::all(runs).iter().filter_map(|group| section(group, width)).collect()
}

/// The table of one setting; nothing to show of no rows.
pub fn section(group: &Group<'_>, width: Width) -> Option<Section> {
    let best = group.best()?;
    let more = if width == Width::Wide { MORE_COLUMNS } else { &[] };
    let columns = || COLUMNS.iter().chain(more);
    let mut grid = Grid::new(1, columns().map(|(heading, _)| *heading));
    for row in &group.rows {
        let cells = columns().map(|(_, show)| show(row, best));
        grid.row(cells, if row.policy == best.policy { Emphasis::Row } else { Emphasis::None });
    }
    let title = format!("Simulated: {}", group.setting);
    Some(Section { title, grid, sentences: vec![circumstances(group, best), verdict(group, best)] })
}

/// What does not depend much on the policy, told of the best.
fn circumstances(group: &Group<'_>, best: &Row<'_>) -> String {
    format!(
        "{} requests in {} s; {}; a cache without end would hit {}, one LRU of the fleet's size {}.",
        count(mean(best, |run| run.requests as f64)),
        seconds(mean(best, |run| run.duration_s)),
        group.seeds(),
        percent(mean(best, |run| run.oracle_hit_rate)),
        percent(mean(best, |run| run.one_lru_hit_rate)),
    )
}

/// Who won, and how far ours is from that.
fn verdict(group: &Group<'_>, best: &Row<'_>) -> String {
    let won = format!("Least mean TTFT: {}, {} s", best.policy, best.figure(|run| run.ttft_s.mean).seconds());
    let behind = match group.row(OURS) {
        None => String::new(),
        Some(ours) if ours.policy == best.policy => lead(group, best),
        Some(ours) => {
            let ratio = ours.ratio_to(best);
            let within =
                if is_within_spread(ours, best) { ", which is within the spread of seeds" } else { "" };
            format!("; {OURS} takes {}{within}", longer(ratio))
        }
    };
    format!("{won}{behind}.")
}

/// How far the second is from the best.
fn lead(group: &Group<'_>, best: &Row<'_>) -> String {
    let others = group.rows.iter().filter(|row| row.policy != best.policy);
    let second = others.min_by(|one, other| one.ttft().total_cmp(&other.ttft()));
    second.map_or_else(String::new, |second| {
        format!("; the next, {}, takes {}", second.policy, longer(second.ratio_to(best)))
    })
}

/// A ratio in words.
fn longer(ratio: f64) -> String {
    match ratio {
        ratio if ratio < 1.0005 => "as long".to_owned(),
        ratio if ratio < 2.0 => format!("{:.1} % longer", 100.0 * (ratio - 1.0)),
        ratio => format!("{} as long", times(ratio)),
    }
}

fn is_within_spread(one: &Row<'_>, other: &Row<'_>) -> bool {
    let spread = |row: &Row<'_>| row.figure(|run| run.ttft_s.mean).deviation;
    let difference = (one.ttft() - other.ttft()).abs();
    spread(one).zip(spread(other)).is_some_and(|(one, other)| difference <= one + other)
}

/// The hit rate as a share of the oracle's; all of it where there was nothing to hit.
fn of_oracle(run: &RunReport) -> f64 {
    if run.oracle_hit_rate > 0.0 { run.hit_rate / run.oracle_hit_rate } else { 1.0 }
}

fn mean(row: &Row<'_>, of: fn(&RunReport) -> f64) -> f64 {
    row.figure(of).mean
}

#[cfg(test)]
mod tests {
    use super::super::examples::{run, with};
    use super::*;
    use crate::grid::Form;

    fn cells(text: &str, policy: &str) -> String {
        let row = text.lines().find(|line| line.starts_with(&format!("{policy} "))).unwrap();
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_row_shows_means_over_seeds_with_their_spread() {
        let runs = [run("random", 1), run("random", 2), run("cache_aware", 1), run("cache_aware", 2)];
        let sections = sections(&runs, Width::Usual);
        let text = sections[0].render(Form::Plain);
        assert!(text.starts_with("Simulated: agentic; h100 engines; 8 workers; "), "{text}");
        assert_eq!(
            cells(&text, "random"),
            "random 1.03 ±0.01 0.82 2.06 4.12 10.0 ±0.0 40.0 40.0% 44.4% 1.20 100.0% 1.90 2.00x"
        );
        assert_eq!(
            cells(&text, "cache_aware"),
            "cache_aware 0.52 ±0.01 0.41 1.03 2.06 5.00 ±0.00 20.0 80.0% 88.9% 1.20 100.0% 1.90 best"
        );
        assert!(
            text.ends_with(
                "1,200 requests in 600 s; seeds 1 to 2; a cache without end would hit 90.0%, one LRU of the \
                 fleet's size 85.0%.\nLeast mean TTFT: cache_aware, 0.52 ±0.01 s; the next, random, takes 2.00x as \
                 long.\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_last_line_says_how_far_ours_is_from_the_best() {
        let rival = |seed| {
            let mut run = run("rival:lmetric", seed);
            run.ttft_s.mean *= 0.98;
            run
        };
        let one_seed = [run("cache_aware", 1), rival(1)];
        let text = sections(&one_seed, Width::Usual)[0].render(Form::Plain);
        assert!(text.ends_with("rival:lmetric, 0.50 s; cache_aware takes 2.0 % longer.\n"), "{text}");
        let two_seeds = [run("cache_aware", 1), run("cache_aware", 2), rival(1), rival(2)];
        let text = sections(&two_seeds, Width::Usual)[0].render(Form::Plain);
        assert!(text.contains("2.0 % longer, which is within the spread of seeds."), "{text}");
    }

    #[test]
    fn the_usual_table_fits_120_columns_with_the_longest_figures() {
        let long = |seed| {
            let mut run = run("rival:sticky_until_saturated", seed);
            run.ttft_s =
                crate::simulate::report::Spread { mean: 99.94, p50: 1234.0, p90: 1234.0, p99: 1234.0 };
            run.e2e_s.mean = 1234.0 + 100.0 * seed as f64;
            run.tpot_s.mean = 1.234;
            (run.goodput, run.busiest_over_mean) = (99.9, 8.0);
            run
        };
        let runs = [long(1), long(2), run("cache_aware", 1)];
        let text = sections(&runs, Width::Usual)[0].render(Form::Plain);
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        let wide = sections(&runs, Width::Wide)[0].render(Form::Plain);
        assert!(wide.contains("lost to"), "{wide}");
    }

    #[test]
    fn each_setting_has_a_table_of_its_own() {
        let runs = [run("random", 1), with("random", |run| run.engine_model = "mocker")];
        let titles: Vec<String> =
            sections(&runs, Width::Usual).into_iter().map(|section| section.title).collect();
        assert_eq!(titles.len(), 2);
        assert!(titles[1].contains("mocker engines"), "{titles:?}");
    }

    #[test]
    fn the_same_table_is_markdown_too() {
        let text = sections(&[run("cache_aware", 1)], Width::Usual)[0].render(Form::Markdown);
        assert!(text.starts_with("### Simulated: agentic; "), "{text}");
        assert!(text.contains("\n| **cache_aware** | **0.51** |"), "{text}");
    }
}
