//! One setting varied: a row for each value and policy, and how much of it each policy needs to keep its promises.

use std::time::Duration;

use super::Section;
use super::figures::{count, listed, percent, seconds, times, tokens};
use super::summary::{Group, Row, Setting};
use crate::grid::{Emphasis, Grid};
use crate::simulate::{RunReport, Slo};

/// The share of requests that must be within the objectives for a fleet to be called large enough.
pub const ENOUGH: f64 = 0.99;

/// What can be varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// How many workers there are.
    Workers,
    /// How many tokens each of them caches.
    CacheTokens,
    /// How many times as fast requests arrive.
    Rate,
}

impl Axis {
    /// Everything that can be varied.
    pub const ALL: [Self; 3] = [Self::Workers, Self::CacheTokens, Self::Rate];

    /// Its name in flags and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::CacheTokens => "cache-tokens",
            Self::Rate => "rate",
        }
    }

    /// What a run had of it.
    pub fn value(self, run: &RunReport) -> f64 {
        match self {
            Self::Workers => run.workers as f64,
            Self::CacheTokens => f64::from(run.cache_tokens),
            Self::Rate => run.rate,
        }
    }

    fn shown(self, value: f64) -> String {
        match self {
            Self::Workers | Self::Rate => value.to_string(),
            Self::CacheTokens => tokens(value),
        }
    }
}

/// One table for each setting of `runs` in which `axis` was varied.
pub fn sections(runs: &[RunReport], axis: Axis, slo: &Slo) -> Vec<Section> {
    let mut settings: Vec<Setting<'_>> = Vec::new();
    for run in runs {
        if !settings.iter().any(|setting| setting.is_of(run)) {
            settings.push(Setting::of(run, Some(axis)));
        }
    }
    let sweep = |setting: &Setting<'_>| {
        let groups = Group::all(runs.iter().filter(|run| setting.is_of(run)));
        section(*setting, groups, axis, slo)
    };
    settings.iter().map(sweep).collect()
}

fn section(setting: Setting<'_>, mut groups: Vec<Group<'_>>, axis: Axis, slo: &Slo) -> Section {
    groups.sort_by(|one, other| value(axis, one).total_cmp(&value(axis, other)));
    let headings = [
        axis.name(),
        "policy",
        "TTFT\nmean",
        "\np99",
        "e2e\nmean",
        "hit\nrate",
        "busy/\nmean",
        "good-\nput",
        "within\nSLO",
        "vs\nbest",
    ];
    let mut grid = Grid::new(2, headings);
    for group in &groups {
        for (place, row) in group.rows.iter().enumerate() {
            let label = if place == 0 { axis.shown(value(axis, group)) } else { String::new() };
            grid.row(cells(label, row, group), Emphasis::None);
        }
    }
    let title = format!("Simulated: {} varied; {setting}", axis.name());
    Section { title, grid, sentences: vec![answer(&groups, axis, slo)] }
}

fn cells(label: String, row: &Row<'_>, group: &Group<'_>) -> [String; 10] {
    let mean = |of: fn(&RunReport) -> f64| row.figure(of).mean;
    let against = group.best().map_or_else(String::new, |best| {
        if best.policy == row.policy { "best".to_owned() } else { times(row.ratio_to(best)) }
    });
    [
        label,
        row.policy.to_owned(),
        row.figure(|run| run.ttft_s.mean).seconds(),
        seconds(mean(|run| run.ttft_s.p99)),
        row.figure(|run| run.e2e_s.mean).seconds(),
        percent(mean(|run| run.hit_rate)),
        format!("{:.2}", mean(|run| run.busiest_over_mean)),
        seconds(mean(|run| run.goodput)),
        percent(mean(|run| run.slo_share)),
        against,
    ]
}

/// What there was of the axis in a group; a group has at least one run.
fn value(axis: Axis, group: &Group<'_>) -> f64 {
    group.rows.first().and_then(|row| row.runs.first()).map_or(0.0, |run| axis.value(run))
}

/// How much of it is enough, for each policy; policies that need the same are named together.
fn answer(groups: &[Group<'_>], axis: Axis, slo: &Slo) -> String {
    let mut answers: Vec<(String, Vec<String>)> = Vec::new();
    for policy in groups.iter().flat_map(|group| group.rows.iter().map(|row| row.policy)) {
        if answers.iter().any(|(_, policies)| policies.iter().any(|known| known == policy)) {
            continue;
        }
        let need = need(groups, axis, policy);
        match answers.iter_mut().find(|(known, _)| *known == need) {
            Some((_, policies)) => policies.push(policy.to_owned()),
            None => answers.push((need, vec![policy.to_owned()])),
        }
    }
    let answers: Vec<String> =
        answers.iter().map(|(need, policies)| format!("{}: {need}", listed(policies))).collect();
    format!("For {}, {}.", objective(slo), answers.join("; "))
}

fn objective(slo: &Slo) -> String {
    let told = |time: Duration| {
        if time.as_millis().is_multiple_of(1000) {
            format!("{} s", time.as_secs())
        } else {
            format!("{} ms", time.as_millis())
        }
    };
    format!(
        "a first token in {} and others in {} for {} % of requests",
        told(slo.ttft),
        told(slo.tpot),
        count(100.0 * ENOUGH)
    )
}

/// The least that is enough of workers or cache, or the highest rate up to which everything is.
fn need(groups: &[Group<'_>], axis: Axis, policy: &str) -> String {
    let tried: Vec<(f64, bool)> = groups
        .iter()
        .filter_map(|group| {
            let share = group.row(policy)?.figure(|run| run.slo_share).mean;
            Some((value(axis, group), share >= ENOUGH))
        })
        .collect();
    let last = tried.last().map_or(0.0, |(value, _)| *value);
    let first = tried.first().map_or(0.0, |(value, _)| *value);
    let enough = match axis {
        Axis::Workers | Axis::CacheTokens => tried.iter().find(|(_, enough)| *enough),
        Axis::Rate => tried.iter().take_while(|(_, enough)| *enough).last(),
    };
    match (axis, enough) {
        (Axis::Workers, Some((value, _))) => format!("{value} workers"),
        (Axis::Workers, None) => format!("more than {last} workers"),
        (Axis::CacheTokens, Some((value, _))) => format!("{} tokens of cache a worker", tokens(*value)),
        (Axis::CacheTokens, None) => format!("more than {} tokens of cache a worker", tokens(last)),
        (Axis::Rate, Some((value, _))) => format!("up to {value} times the rate"),
        (Axis::Rate, None) => format!("not even {first} times the rate"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::with;
    use super::*;
    use crate::grid::Form;

    fn at(policy: &str, workers: usize, slo_share: f64) -> RunReport {
        with(policy, |run| (run.workers, run.slo_share) = (workers, slo_share))
    }

    #[test]
    fn a_sweep_says_how_many_workers_each_policy_needs() {
        let runs = [
            at("random", 8, 0.9),
            at("cache_aware", 8, 0.999),
            at("random", 2, 0.1),
            at("cache_aware", 2, 0.7),
            at("random", 4, 0.5),
            at("cache_aware", 4, 0.99),
        ];
        let sections = sections(&runs, Axis::Workers, &Slo::default());
        assert_eq!(sections.len(), 1);
        assert_eq!(
            sections[0].sentences,
            [
                "For a first token in 2 s and others in 100 ms for 99 % of requests, random: more than 8 workers; \
              cache_aware: 4 workers."
            ]
        );
        let text = sections[0].render(Form::Plain);
        assert!(text.starts_with("Simulated: workers varied; agentic; h100 engines; a cache of "), "{text}");
        let labels: Vec<&str> = text.lines().skip(5).filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(labels[..6], ["2", "", "4", "", "8", ""]);
    }

    #[test]
    fn policies_that_need_the_same_are_named_together() {
        let runs = [at("a", 2, 1.0), at("b", 2, 1.0), at("c", 2, 0.0)];
        let sections = sections(&runs, Axis::Workers, &Slo::default());
        assert!(sections[0].sentences[0].ends_with("a and b: 2 workers; c: more than 2 workers."));
    }

    #[test]
    fn a_rate_is_borne_only_if_all_below_are() {
        let at = |rate, share| with("random", |run| (run.rate, run.slo_share) = (rate, share));
        let said = |runs: &[RunReport]| sections(runs, Axis::Rate, &Slo::default())[0].sentences[0].clone();
        let runs = [at(1.0, 1.0), at(2.0, 0.99), at(3.0, 0.5), at(4.0, 1.0)];
        assert!(said(&runs).ends_with("random: up to 2 times the rate."));
        assert!(said(&runs[2..3]).ends_with("random: not even 3 times the rate."));
    }

    #[test]
    fn cache_is_counted_in_tokens_a_worker() {
        let at = |cache, share| with("random", |run| (run.cache_tokens, run.slo_share) = (cache, share));
        let runs = [at(300_000, 0.5), at(1_000_000, 1.0)];
        let said = sections(&runs, Axis::CacheTokens, &Slo::default())[0].sentences[0].clone();
        assert!(said.ends_with("random: 1M tokens of cache a worker."), "{said}");
    }
}
