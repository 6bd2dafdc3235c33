//! What was found, on stdout: tables as experiments end, everything else once all have.

use std::io::IsTerminal;

use warmroute_lab::grid::Form;
use warmroute_lab::simulate::RunReport;
use warmroute_lab::simulate::show::table::{LEGEND, Width};
use warmroute_lab::simulate::show::{Section, json, sweep, table};
use warmroute_lab::simulate::suite::{Outcome, matrix, promises};

use super::flags::Flags;
use super::plan::{Experiment, Plan};
use super::values::Sweep;
use crate::Verdict;

/// An experiment and its runs.
pub(super) struct Played<'a> {
    pub(super) experiment: &'a Experiment,
    pub(super) runs: Vec<RunReport>,
}

impl Played<'_> {
    fn told(&self) -> impl Iterator<Item = json::Told<'_>> {
        let regime = self.experiment.regime.map(|regime| regime.name);
        let changes = &self.experiment.changes;
        self.runs.iter().map(move |run| json::Told { regime, changes, run })
    }
}

/// How it is to be told.
pub(super) enum Output {
    Json,
    Tables { form: Form, width: Width },
}

impl Output {
    /// As the flags and the terminal say.
    pub(super) fn of(flags: &Flags) -> Self {
        if flags.output.json {
            return Self::Json;
        }
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let form = match flags.output.markdown {
            true => Form::Markdown,
            false if std::io::stdout().is_terminal() && !no_colour => Form::Bold,
            false => Form::Plain,
        };
        Self::Tables { form, width: if flags.output.wide { Width::Wide } else { Width::Usual } }
    }

    /// Tells of one experiment, as soon as it has ended.
    pub(super) fn tell(&self, played: &Played<'_>, plan: &Plan, swept: Option<&Sweep>) {
        let Self::Tables { form, width } = self else { return };
        if let Some(regime) = played.experiment.regime {
            println!("{}", heading(&format!("{}: {}", regime.name, regime.about), *form));
        }
        if !played.experiment.changes.is_empty() {
            println!("What happens: {}\n", played.experiment.changes.join(", "));
        }
        let sections = match swept {
            Some(swept) => sweep::sections(&played.runs, swept.axis(), &plan.slo),
            None => table::sections(&played.runs, *width),
        };
        print(&sections, *form);
    }

    /// Tells of all of them together, and judges them.
    pub(super) fn conclude(&self, played: &[Played<'_>]) -> anyhow::Result<Verdict> {
        let outcomes: Vec<Outcome<'_>> = played
            .iter()
            .filter_map(|played| Some((played.experiment.regime?.name, &played.runs)))
            .flat_map(|(regime, runs)| Outcome::all(regime, runs))
            .collect();
        let verdicts = promises::judge(&outcomes);
        match self {
            Self::Json => {
                print!("{}", json::render(played.iter().flat_map(Played::told))?);
            }
            Self::Tables { form, .. } => {
                if !outcomes.is_empty() {
                    print(&matrix::sections(&outcomes, *form), *form);
                    print(&[verdicts.section], *form);
                }
                print!("{LEGEND}");
            }
        }
        if verdicts.broken.is_empty() {
            return Ok(Verdict::Well);
        }
        eprintln!("error: promises broken: {}; hint: the last table shows which", verdicts.broken.len());
        Ok(Verdict::Unwell)
    }
}

fn heading(text: &str, form: Form) -> String {
    if form == Form::Markdown { format!("## {text}\n") } else { format!("== {text}") }
}

fn print(sections: &[Section], form: Form) {
    for section in sections {
        println!("{}", section.render(form));
    }
}
