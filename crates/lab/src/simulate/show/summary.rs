//! Runs put in order: groups that ran in the same setting, in each a row for every policy, in each row a run for every seed.
//!
//! Groups, rows and seeds stay in the order in which they first come, so equal runs make equal reports.

use std::fmt;

use super::figures::{Figure, tokens};
use super::sweep::Axis;
use crate::simulate::RunReport;

/// Shares of answered requests that count as equal: a policy that sheds load is no winner by that.
const EQUAL_SUCCESS: f64 = 0.99;

/// The policy that tables speak of.
pub const OURS: &str = "cache_aware";

/// What runs must have in common to be put side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting<'a> {
    /// The run that set it; the others agree with it in everything that [`Setting::is_of`] compares.
    first: &'a RunReport,
    /// What may differ all the same.
    swept: Option<Axis>,
}

impl<'a> Setting<'a> {
    /// The setting of `run`, in which what is `swept` does not count.
    pub fn of(run: &'a RunReport, swept: Option<Axis>) -> Self {
        Self { first: run, swept }
    }

    /// The workload's name.
    pub fn workload(self) -> &'a str {
        &self.first.workload
    }

    /// The engine model's name.
    pub fn engine_model(self) -> &'static str {
        self.first.engine_model
    }

    /// Whether this is the setting of `run` too.
    pub fn is_of(self, run: &RunReport) -> bool {
        let key = |run: &'a RunReport| (&run.workload, run.engine_model, run.view, run.gateways);
        let alike = |axis: &Axis| Some(*axis) == self.swept || axis.value(run) == axis.value(self.first);
        let (one, other) = (key(self.first), (&run.workload, run.engine_model, run.view, run.gateways));
        one == other && run.view_lag_s == self.first.view_lag_s && Axis::ALL.iter().all(alike)
    }
}

/// The setting in words.
impl fmt::Display for Setting<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = self.first;
        let is_fixed = |axis| self.swept != Some(axis);
        write!(out, "{}", run.workload)?;
        if is_fixed(Axis::Rate) && run.rate != 1.0 {
            write!(out, " at {} times its rate", run.rate)?;
        }
        write!(out, "; {} engines", run.engine_model)?;
        if is_fixed(Axis::Workers) {
            write!(out, "; {} workers", run.workers)?;
        }
        if is_fixed(Axis::CacheTokens) {
            write!(out, "; a cache of {} tokens each", tokens(f64::from(run.cache_tokens)))?;
        }
        write!(out, "; {} view", run.view)?;
        if run.gateways > 1 || run.view_lag_s > 0.0 {
            let plural = if run.gateways == 1 { "" } else { "s" };
            write!(out, "; {} gateway{plural}, {:.0} ms late", run.gateways, 1e3 * run.view_lag_s)?;
        }
        Ok(())
    }
}

/// The runs of one setting.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// What they have in common.
    pub setting: Setting<'a>,
    /// A row for each policy.
    pub rows: Vec<Row<'a>>,
}

impl<'a> Group<'a> {
    /// Runs by setting and policy.
    pub fn all(runs: impl IntoIterator<Item = &'a RunReport>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for run in runs {
            match groups.iter_mut().find(|group| group.setting.is_of(run)) {
                Some(group) => group.add(run),
                None => {
                    let setting = Setting::of(run, None);
                    groups.push(Self { setting, rows: vec![Row { policy: &run.policy, runs: vec![run] }] });
                }
            }
        }
        groups
    }

    fn add(&mut self, run: &'a RunReport) {
        match self.rows.iter_mut().find(|row| row.policy == run.policy) {
            Some(row) => row.runs.push(run),
            None => self.rows.push(Row { policy: &run.policy, runs: vec![run] }),
        }
    }

    /// The row with the least mean TTFT, among those that answered as many requests as any; the first of equals.
    pub fn best(&self) -> Option<&Row<'a>> {
        self.least(|run| run.ttft_s.mean)
    }

    /// The row with the least of something, among those that answered as many requests as any; the first of equals.
    pub fn least(&self, of: fn(&RunReport) -> f64) -> Option<&Row<'a>> {
        let success = |row: &Row<'_>| row.figure(|run| run.success_rate).mean;
        let most = self.rows.iter().map(success).fold(0.0, f64::max);
        let able = self.rows.iter().filter(|row| success(row) >= EQUAL_SUCCESS * most);
        able.min_by(|one, other| one.figure(of).mean.total_cmp(&other.figure(of).mean))
    }

    /// The row of a policy.
    pub fn row(&self, policy: &str) -> Option<&Row<'a>> {
        self.rows.iter().find(|row| row.policy == policy)
    }

    /// The seeds in words.
    pub fn seeds(&self) -> String {
        let seeds: Vec<String> = self
            .rows
            .first()
            .map_or_else(Vec::new, |row| row.runs.iter().map(|run| run.seed.to_string()).collect());
        match seeds.as_slice() {
            [] => "no seed".to_owned(),
            [seed] => format!("seed {seed}"),
            [first, .., last] => format!("seeds {first} to {last}"),
        }
    }
}

/// The runs of one policy, one for each seed; at least one.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The policy with its options.
    pub policy: &'a str,
    /// Its runs.
    pub runs: Vec<&'a RunReport>,
}

impl Row<'_> {
    /// Something over the seeds.
    pub fn figure(&self, of: impl Fn(&RunReport) -> f64) -> Figure {
        Figure::of(self.runs.iter().map(|run| of(run)))
    }

    /// Mean TTFT over the seeds, in seconds.
    pub fn ttft(&self) -> f64 {
        self.figure(|run| run.ttft_s.mean).mean
    }

    /// How many times as long first tokens take as in the other row; 1 where both take none.
    pub fn ratio_to(&self, best: &Row<'_>) -> f64 {
        if self.ttft() == best.ttft() { 1.0 } else { self.ttft() / best.ttft() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{run, with};
    use super::*;

    #[test]
    fn runs_that_differ_in_their_seed_are_one_row() {
        let runs = [run("random", 1), run("cache_aware", 1), run("random", 2), run("cache_aware", 2)];
        let groups = Group::all(&runs);
        assert_eq!(groups.len(), 1);
        let shape: Vec<_> = groups[0].rows.iter().map(|row| (row.policy, row.runs.len())).collect();
        assert_eq!(shape, [("random", 2), ("cache_aware", 2)]);
        assert_eq!(groups[0].seeds(), "seeds 1 to 2");
    }

    #[test]
    fn runs_that_differ_in_anything_else_are_not_compared() {
        let runs = [
            run("random", 1),
            with("random", |run| run.workers = 4),
            with("random", |run| run.engine_model = "mocker"),
            with("random", |run| run.rate = 2.0),
            with("random", |run| run.view_lag_s = 0.25),
            with("random", |run| run.workload = "chat".to_owned()),
        ];
        assert_eq!(Group::all(&runs).len(), runs.len());
    }

    #[test]
    fn a_policy_that_sheds_load_does_not_win_by_that() {
        let shedding = with("shedding", |run| {
            run.ttft_s.mean = 0.01;
            run.success_rate = 0.5;
        });
        let runs = [run("random", 1), shedding];
        assert_eq!(Group::all(&runs)[0].best().unwrap().policy, "random");
    }

    #[test]
    fn a_setting_says_what_was_set() {
        let late = with("random", |run| (run.rate, run.gateways, run.view_lag_s) = (1.5, 2, 0.25));
        assert_eq!(
            Setting::of(&late, None).to_string(),
            "agentic at 1.5 times its rate; h100 engines; 8 workers; a cache of 1M tokens each; exact view; \
             2 gateways, 250 ms late"
        );
        assert_eq!(
            Setting::of(&run("random", 1), Some(Axis::Workers)).to_string(),
            "agentic; h100 engines; a cache of 1M tokens each; exact view"
        );
    }
}
