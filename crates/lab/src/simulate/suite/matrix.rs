//! All regimes against all policies: the mean time to first token, with the best of each regime marked.

use super::Outcome;
use crate::grid::{Emphasis, Form, Grid};
use crate::simulate::show::Section;
use crate::simulate::show::figures::{seconds, times};
use crate::simulate::show::summary::OURS;

/// Policies beside ours in one table of text; Markdown has no such bound.
const POLICIES_ACROSS: usize = 8;

/// Pieces of a policy's name stand below each other where they are longer than this together.
const HEADING: usize = 9;

/// A matrix for each engine model, in as many tables as it takes to stay within 120 columns.
pub fn sections(outcomes: &[Outcome<'_>], form: Form) -> Vec<Section> {
    let mut engines: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !engines.contains(&outcome.group.setting.engine_model()) {
            engines.push(outcome.group.setting.engine_model());
        }
    }
    let across = if form == Form::Markdown { usize::MAX } else { POLICIES_ACROSS };
    engines.iter().flat_map(|engine| of_engine(outcomes, engine, across)).collect()
}

fn of_engine(outcomes: &[Outcome<'_>], engine: &str, across: usize) -> Vec<Section> {
    let outcomes: Vec<&Outcome<'_>> =
        outcomes.iter().filter(|outcome| outcome.group.setting.engine_model() == engine).collect();
    let mut others: Vec<&str> = Vec::new();
    for row in outcomes.iter().flat_map(|outcome| &outcome.group.rows) {
        if row.policy != OURS && !others.contains(&row.policy) {
            others.push(row.policy);
        }
    }
    let parts: Vec<&[&str]> =
        if others.is_empty() { vec![&[]] } else { others.chunks(across.min(others.len())).collect() };
    let section = |(number, policies): (usize, &&[&str])| {
        let more = if number == 0 { "" } else { ", continued" };
        let title = format!("Simulated: mean TTFT in seconds by regime and policy; {engine} engines{more}");
        let mark = "The least of each regime is marked; ratio: cache_aware over that least.".to_owned();
        let sentences = if number + 1 == parts.len() { vec![mark] } else { Vec::new() };
        Section { title, grid: grid(&outcomes, policies), sentences }
    };
    parts.iter().enumerate().map(section).collect()
}

fn grid(outcomes: &[&Outcome<'_>], policies: &[&str]) -> Grid {
    let ours = std::iter::once(OURS);
    let headings = ["regime".to_owned(), "ratio".to_owned()];
    let headings = headings.into_iter().chain(ours.clone().chain(policies.iter().copied()).map(heading));
    let mut grid = Grid::new(1, headings);
    for outcome in outcomes {
        let best = outcome.group.best();
        let ratio = outcome.group.row(OURS).zip(best).map(|(row, best)| times(row.ratio_to(best)));
        let mut cells = vec![outcome.regime.to_owned(), ratio.unwrap_or_default()];
        let mut emphasis = Emphasis::None;
        for policy in ours.clone().chain(policies.iter().copied()) {
            if best.is_some_and(|best| best.policy == policy) {
                emphasis = Emphasis::Cell(cells.len());
            }
            cells.push(outcome.group.row(policy).map_or_else(String::new, |row| seconds(row.ttft())));
        }
        grid.row(cells, emphasis);
    }
    grid
}

/// A policy's name in lines that are short.
fn heading(policy: &str) -> String {
    let mut lines = String::new();
    let mut length = 0;
    for piece in policy.split_inclusive(['_', ':', ',']) {
        if length > 0 && length + piece.len() > HEADING {
            lines.push('\n');
            length = 0;
        }
        lines.push_str(piece);
        length += piece.len();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::super::show::examples::{run, with};
    use super::*;

    #[test]
    fn the_best_of_each_regime_is_marked_and_ours_is_set_against_it() {
        let chat = [run("random", 1), run("cache_aware", 1)];
        let faster = with("rival:bounded_hash", |run| run.ttft_s.mean = 0.5);
        let uniform = [run("random", 1), run("cache_aware", 1), faster];
        let outcomes = [Outcome::all("chat", &chat), Outcome::all("uniform", &uniform)].concat();
        let section = &sections(&outcomes, Form::Plain)[0];
        let text = section.render(Form::Plain);
        assert!(
            text.starts_with("Simulated: mean TTFT in seconds by regime and policy; h100 engines\n"),
            "{text}"
        );
        let squeezed: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(squeezed.contains(&"chat 1.00x *0.51 1.02".to_owned()), "{text}");
        assert!(squeezed.contains(&"uniform 1.02x 0.51 1.02 *0.50".to_owned()), "{text}");
        let page = section.render(Form::Markdown);
        assert!(page.contains("| regime | ratio | cache_aware | random | rival:bounded_hash |"), "{page}");
        assert!(page.contains("| uniform | 1.02x | 0.51 | 1.02 | **0.50** |"), "{page}");
    }

    #[test]
    fn many_policies_take_several_tables_of_text_and_one_of_markdown() {
        let mut runs = vec![run("cache_aware", 1)];
        runs.extend((0..16).map(|place| run(&format!("rival:policy_number_{place}:option={place}"), 1)));
        let outcomes = Outcome::all("agentic_overload", &runs);
        let text = sections(&outcomes, Form::Plain);
        assert_eq!((text.len(), sections(&outcomes, Form::Markdown).len()), (2, 1));
        let text: String = text.iter().map(|section| section.render(Form::Plain)).collect();
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }

    #[test]
    fn engine_models_are_never_mixed() {
        let runs = [run("cache_aware", 1), with("cache_aware", |run| run.engine_model = "mocker")];
        let outcomes = Outcome::all("chat", &runs);
        let titles: Vec<String> =
            sections(&outcomes, Form::Plain).into_iter().map(|section| section.title).collect();
        assert!(titles[0].contains("h100 engines") && titles[1].contains("mocker engines"), "{titles:?}");
    }
}
