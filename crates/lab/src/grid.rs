//! A table of cells, for people at a terminal or for a page of Markdown.
//!
//! No colour: the one emphasis there is, bold for rows that stand out, is asked for by whoever knows the terminal.

use std::fmt::Write;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

/// Lines above, below and under the headings; none between columns, which would cost the width of two figures.
const RULED: TableStyle = TableStyle::new().top_border(RULE).header_separator(RULE).bottom_border(RULE);
const RULE: LineStyle = LineStyle::none().fill('─').junction('─');

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text without any control character.
    Plain,
    /// Text for a terminal: what stands out is bold.
    Bold,
    /// GitHub's tables.
    Markdown,
}

/// Headings and rows of cells.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    headings: Vec<String>,
    rows: Vec<Row>,
    words: usize,
}

#[derive(Clone, Debug)]
struct Row {
    cells: Vec<String>,
    emphasis: Emphasis,
}

/// What of a row stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emphasis {
    /// Nothing.
    None,
    /// All of it: bold where there is bold.
    Row,
    /// One cell, by its place: bold in Markdown, a star before it elsewhere.
    Cell(usize),
}

impl Grid {
    /// A grid whose first `words` columns are words, aligned left; the others are figures. A heading may have several
    /// lines, which keeps columns narrow.
    pub fn new(words: usize, headings: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { headings: headings.into_iter().map(Into::into).collect(), rows: Vec::new(), words }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>, emphasis: Emphasis) {
        self.rows.push(Row { cells: cells.into_iter().collect(), emphasis });
    }

    /// The grid as text, without a newline at its end.
    pub fn render(&self, form: Form) -> String {
        match form {
            Form::Plain => self.ruled(),
            Form::Bold => self.bold(&self.ruled()),
            Form::Markdown => self.markdown(),
        }
    }

    fn ruled(&self) -> String {
        let mut table = Table::new();
        table.load_style(RULED);
        table.set_header(&self.headings);
        for row in &self.rows {
            let starred = |(place, cell): (usize, &String)| match row.emphasis {
                Emphasis::Cell(best) if best == place => format!("*{cell}"),
                _ => cell.clone(),
            };
            table.add_row(row.cells.iter().enumerate().map(starred));
        }
        for (place, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 1));
            if place >= self.words {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt()
    }

    /// A row is one line, and the rows end one line before the last rule.
    fn bold(&self, ruled: &str) -> String {
        let lines: Vec<&str> = ruled.lines().collect();
        let first = lines.len().saturating_sub(self.rows.len() + 1);
        let bold = |(place, line): (usize, &&str)| {
            let stands_out = place.checked_sub(first).and_then(|row| self.rows.get(row));
            let stands_out = stands_out.is_some_and(|row| row.emphasis == Emphasis::Row);
            if stands_out { format!("\u{1b}[1m{line}\u{1b}[0m") } else { (*line).to_owned() }
        };
        lines.iter().enumerate().map(bold).collect::<Vec<_>>().join("\n")
    }

    fn markdown(&self) -> String {
        let mut text = line(self.headings.iter().map(|heading| one_line(heading)));
        text.push('|');
        for place in 0..self.headings.len() {
            text.push_str(if place < self.words { " --- |" } else { " ---: |" });
        }
        for row in &self.rows {
            text.push('\n');
            let is_bold = |place| row.emphasis == Emphasis::Row || row.emphasis == Emphasis::Cell(place);
            let cells = row.cells.iter().enumerate().map(|(place, cell)| {
                let cell = cell.replace('|', "\\|");
                if is_bold(place) && !cell.is_empty() { format!("**{cell}**") } else { cell }
            });
            text.push_str(line(cells).trim_end());
        }
        text
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let mut text = String::from("|");
    for cell in cells {
        let _ = write!(text, " {cell} |");
    }
    text.push('\n');
    text
}

/// A heading's lines as one: words get a space between them, the pieces of a name or of a hyphenated word do not.
fn one_line(heading: &str) -> String {
    let mut text = String::new();
    for piece in heading.lines() {
        if text.ends_with('-') {
            text.pop();
        } else if !text.is_empty() && !text.ends_with(['_', ':', ',', '/']) {
            text.push(' ');
        }
        text.push_str(piece);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let mut grid = Grid::new(1, ["policy", "TTFT\nmean", "busy/\nmean"]);
        grid.row(["random".to_owned(), "1.20".to_owned(), "1.00".to_owned()], Emphasis::None);
        grid.row(["cache_aware".to_owned(), "0.57".to_owned(), String::new()], Emphasis::Row);
        grid
    }

    #[test]
    fn a_grid_is_ruled_with_figures_to_the_right() {
        assert_eq!(
            grid().render(Form::Plain),
            "─────────────────────────\n\
             policy       TTFT  busy/\n\
             \u{20}            mean   mean\n\
             ─────────────────────────\n\
             random       1.20   1.00\n\
             cache_aware  0.57\n\
             ─────────────────────────"
        );
    }

    #[test]
    fn only_what_stands_out_is_bold() {
        let text = grid().render(Form::Bold);
        assert_eq!(text.matches('\u{1b}').count(), 2);
        assert!(text.contains("\u{1b}[1mcache_aware"), "{text}");
    }

    #[test]
    fn markdown_has_one_line_a_row() {
        assert_eq!(
            grid().render(Form::Markdown),
            "| policy | TTFT mean | busy/mean |\n\
             | --- | ---: | ---: |\n\
             | random | 1.20 | 1.00 |\n\
             | **cache_aware** | **0.57** |  |"
        );
    }

    #[test]
    fn one_cell_can_stand_out() {
        let mut grid = Grid::new(1, ["regime", "one", "other"]);
        grid.row(["chat".to_owned(), "0.5".to_owned(), "1.5".to_owned()], Emphasis::Cell(1));
        assert!(grid.render(Form::Plain).contains("chat    *0.5    1.5"));
        assert!(grid.render(Form::Markdown).ends_with("| chat | **0.5** | 1.5 |"));
    }

    #[test]
    fn the_lines_of_a_heading_become_one() {
        let headings = ["TTFT\nmean", "busy/\nmean", "suc-\ncess", "rival:\nbounded_\nhash"].map(one_line);
        assert_eq!(headings, ["TTFT mean", "busy/mean", "success", "rival:bounded_hash"]);
    }
}
