//! What we promise of `cache_aware` in every regime, and whether it was kept.
//!
//! A promise is one entry of [`PROMISES`]. All are ratios within one setting and one set of seeds, so they hold or break
//! whatever the scale of the model is.

use super::{Outcome, REGIMES};
use crate::grid::{Emphasis, Grid};
use crate::simulate::RunReport;
use crate::simulate::show::Section;
use crate::simulate::show::summary::{OURS, Row};

/// Mean TTFT over the best's.
const MEAN: f64 = 1.03;
/// TTFT p99 over the best's.
const P99: f64 = 1.2;
/// Prompt tokens computed on the busiest worker over the mean.
const BUSIEST: f64 = 1.3;
/// Mean TTFT over that of `least_loaded` where there is nothing to reuse.
const NO_REUSE: f64 = 1.01;
/// Mean TTFT over the best of the others, where fixed rules collapse.
const AHEAD: f64 = 0.8;
/// Seconds by which a later recovery counts as equal: one step of the windows it is measured with.
const EQUAL_RECOVERY_S: f64 = 5.0;
/// Hit rates that count as equal.
const EQUAL_HITS: f64 = 0.01;
/// Shares of answered requests that count as equal.
const EQUAL_SUCCESS: f64 = 0.001;

/// Something that must hold.
#[derive(Debug)]
pub struct Promise {
    /// The heading of its column.
    heading: &'static str,
    /// It in words.
    pub about: &'static str,
    judge: fn(&Outcome<'_>, &Row<'_>) -> Option<Judgement>,
}

/// Whether a promise was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    kept: bool,
    figure: String,
    against: String,
}

/// Every promise.
pub static PROMISES: &[Promise] = &[
    Promise {
        heading: "mean TTFT\n<= 1.03x",
        about: "mean TTFT at most 1.03 times the best",
        judge: |outcome, ours| below_least(outcome, ours, |run| run.ttft_s.mean, MEAN),
    },
    Promise {
        heading: "TTFT p99\n<= 1.2x",
        about: "TTFT p99 at most 1.2 times the best",
        judge: |outcome, ours| below_least(outcome, ours, |run| run.ttft_s.p99, P99),
    },
    Promise {
        heading: "busy/mean\n<= 1.3",
        about: "the busiest worker computes at most 1.3 times the mean, where others manage that with as many hits",
        judge: busiest,
    },
    Promise {
        heading: "ahead\n<= 0.8x",
        about: "in overload where half of the other rules take twice as long as the best of them, mean TTFT at most 0.8 times that",
        judge: ahead,
    },
    Promise {
        heading: "recovery\nas any",
        about: "after a change, 95 % of the former hit rate as soon as under any policy",
        judge: recovery,
    },
    Promise {
        heading: "no reuse\n<= 1.01x",
        about: "with nothing to reuse, mean TTFT at most 1.01 times that of least_loaded",
        judge: no_reuse,
    },
    Promise {
        heading: "success\nas any",
        about: "as large a share of requests answered as by any policy",
        judge: success,
    },
];

/// All promises in all regimes.
#[derive(Debug)]
pub struct Verdicts {
    /// The table, with a row a regime.
    pub section: Section,
    /// Those that were broken, in words.
    pub broken: Vec<String>,
}

/// Judges every promise in every outcome in which our policy ran.
pub fn judge(outcomes: &[Outcome<'_>]) -> Verdicts {
    let headings = ["regime", "engines"].into_iter().chain(PROMISES.iter().map(|promise| promise.heading));
    let mut grid = Grid::new(2, headings);
    let (mut made, mut broken) = (0, Vec::new());
    for outcome in outcomes {
        let Some(ours) = outcome.group.row(OURS) else { continue };
        let engine = outcome.group.setting.engine_model();
        let mut cells = vec![outcome.regime.to_owned(), engine.to_owned()];
        for promise in PROMISES {
            let judgement = (promise.judge)(outcome, ours);
            made += usize::from(judgement.is_some());
            cells.push(judgement.as_ref().map_or_else(|| "-".to_owned(), told));
            if let Some(Judgement { kept: false, figure, against }) = judgement {
                let place = format!("{}, {engine} engines", outcome.regime);
                broken.push(format!("{place}: {figure}{against}; promised: {}", promise.about));
            }
        }
        grid.row(cells, Emphasis::None);
    }
    let mut sentences = vec![format!("{} of {made} promises kept.", made - broken.len())];
    sentences.extend(broken.iter().map(|broken| format!("Broken in {broken}.")));
    let title = format!("Simulated: what is promised of {OURS}");
    Verdicts { section: Section { title, grid, sentences }, broken }
}

fn told(judgement: &Judgement) -> String {
    format!("{} {}", judgement.figure, if judgement.kept { "kept" } else { "BROKEN" })
}

/// At most `bound` times the least that any policy reached.
fn below_least(
    outcome: &Outcome<'_>,
    ours: &Row<'_>,
    of: fn(&RunReport) -> f64,
    bound: f64,
) -> Option<Judgement> {
    let least = outcome.group.least(of)?;
    Some(within(ratio(ours.figure(of).mean, least.figure(of).mean), bound, least.policy))
}

/// A rival that cannot do better with equal hits shows that it is the workload's fault.
fn busiest(outcome: &Outcome<'_>, ours: &Row<'_>) -> Option<Judgement> {
    let hits = |row: &Row<'_>| row.figure(|run| run.hit_rate).mean;
    let busy = |row: &Row<'_>| row.figure(|run| run.busiest_over_mean).mean;
    let others = outcome.group.rows.iter().filter(|row| row.policy != ours.policy);
    let mut able = others.filter(|row| hits(row) >= hits(ours) - EQUAL_HITS && busy(row) <= BUSIEST);
    let kept = busy(ours) <= BUSIEST;
    let able = able.next();
    if able.is_none() && !kept {
        return None;
    }
    let against = able.map_or_else(String::new, |row| format!(" against {:.2} of {}", busy(row), row.policy));
    Some(Judgement { kept, figure: format!("{:.2}", busy(ours)), against })
}

fn ahead(outcome: &Outcome<'_>, ours: &Row<'_>) -> Option<Judgement> {
    let regime = REGIMES.iter().find(|regime| regime.name == outcome.regime)?;
    let mean = |row: &Row<'_>| row.figure(|run| run.ttft_s.mean).mean;
    let others = outcome.group.rows.iter().filter(|row| row.policy != ours.policy);
    let best = others.clone().min_by(|one, other| mean(one).total_cmp(&mean(other)))?;
    // Under the other engine model the same traffic may be no overload: then nothing collapses.
    let collapsed = others.clone().filter(|row| mean(row) >= 2.0 * mean(best)).count();
    let collapses = regime.collapses && 2 * collapsed >= others.count();
    collapses.then(|| within(mean(ours) / mean(best), AHEAD, best.policy))
}

/// A policy that never recovered counts as infinitely late; one that had nothing to recover is no measure.
fn recovery(outcome: &Outcome<'_>, ours: &Row<'_>) -> Option<Judgement> {
    let changed = ours.runs.iter().any(|run| run.recovery_s.is_some());
    let seconds = |row: &Row<'_>| row.figure(|run| run.recovery_s.unwrap_or_default()).mean;
    let soonest = outcome.group.rows.iter().min_by(|one, other| seconds(one).total_cmp(&seconds(other)))?;
    changed.then(|| Judgement {
        kept: seconds(ours) <= seconds(soonest) + EQUAL_RECOVERY_S,
        figure: format!("{:.0} s", seconds(ours)),
        against: format!(" against {:.0} s of {}", seconds(soonest), soonest.policy),
    })
}

fn no_reuse(outcome: &Outcome<'_>, ours: &Row<'_>) -> Option<Judgement> {
    let plain = outcome.group.row("least_loaded")?;
    let reusable = ours.figure(|run| run.oracle_hit_rate).mean;
    (reusable < EQUAL_HITS).then(|| within(ours.ratio_to(plain), NO_REUSE, plain.policy))
}

fn success(outcome: &Outcome<'_>, ours: &Row<'_>) -> Option<Judgement> {
    let success = |row: &Row<'_>| row.figure(|run| run.success_rate).mean;
    let most = outcome.group.rows.iter().max_by(|one, other| success(one).total_cmp(&success(other)))?;
    Some(Judgement {
        kept: success(ours) >= success(most) - EQUAL_SUCCESS,
        figure: format!("{:.1}%", 100.0 * success(ours)),
        against: format!(" against {:.1}% of {}", 100.0 * success(most), most.policy),
    })
}

fn within(ratio: f64, bound: f64, policy: &str) -> Judgement {
    Judgement { kept: ratio <= bound, figure: format!("{ratio:.3}x"), against: format!(" of {policy}") }
}

fn ratio(ours: f64, least: f64) -> f64 {
    if ours == least { 1.0 } else { ours / least }
}

#[cfg(test)]
mod tests {
    use super::super::super::show::examples::{run, with};
    use super::*;
    use crate::grid::Form;

    fn verdicts(runs: &[RunReport]) -> Verdicts {
        judge(&Outcome::all("chat", runs))
    }

    #[test]
    fn all_kept_is_said_in_one_sentence() {
        let verdicts = verdicts(&[run("random", 1), run("cache_aware", 1)]);
        assert_eq!(verdicts.broken, Vec::<String>::new());
        assert_eq!(verdicts.section.sentences, ["4 of 4 promises kept."]);
        let text = verdicts.section.render(Form::Markdown);
        assert!(
            text.contains(
                "| chat | h100 | 1.000x kept | 1.000x kept | 1.20 kept | - | - | - | 100.0% kept |"
            ),
            "{text}"
        );
    }

    #[test]
    fn every_promise_can_be_broken() {
        let best = with("least_loaded", |run| {
            (run.ttft_s.mean, run.ttft_s.p99, run.hit_rate, run.oracle_hit_rate) = (0.4, 1.0, 0.0, 0.0);
            run.recovery_s = Some(0.0);
        });
        let ours = with("cache_aware", |run| {
            (run.busiest_over_mean, run.hit_rate, run.oracle_hit_rate, run.success_rate) =
                (1.5, 0.0, 0.0, 0.995);
            run.recovery_s = Some(60.0);
        });
        let collapsed = |policy| with(policy, |run| (run.ttft_s.mean, run.ttft_s.p99) = (5.0, 9.0));
        let runs = [best, ours, collapsed("random"), collapsed("round_robin")];
        let verdicts = judge(&Outcome::all("agentic_overload", &runs));
        assert_eq!(verdicts.broken.len(), PROMISES.len(), "{:?}", verdicts.broken);
        assert_eq!(
            verdicts.broken[0],
            "agentic_overload, h100 engines: 1.275x of least_loaded; promised: mean TTFT at most 1.03 times the best"
        );
        assert_eq!(verdicts.section.sentences[0], "0 of 7 promises kept.");
    }

    #[test]
    fn a_busy_worker_is_excused_where_nobody_does_better_with_as_many_hits() {
        let ours = with("cache_aware", |run| run.busiest_over_mean = 1.5);
        let verdicts = verdicts(&[run("random", 1), ours]);
        assert_eq!(verdicts.broken, Vec::<String>::new(), "random spreads, but hits half as much");
    }

    #[test]
    fn nothing_is_promised_where_ours_did_not_run() {
        assert_eq!(verdicts(&[run("random", 1)]).section.sentences, ["0 of 0 promises kept."]);
    }
}
