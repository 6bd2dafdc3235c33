//! Simulated runs for people and for scripts: tables, JSON and a picture.
//!
//! Every form says that it is simulated, so that nobody takes virtual seconds for measured ones.

use std::fmt::Write;

use crate::grid::{Form, Grid};

pub mod figures;
pub mod json;
pub mod picture;
pub mod summary;
pub mod sweep;
pub mod table;

#[cfg(test)]
pub(crate) mod examples;

/// A table with its heading and what is to be learned from it.
#[derive(Clone, Debug)]
pub struct Section {
    /// What the table is about.
    pub title: String,
    /// The table.
    pub grid: Grid,
    /// Sentences under the table.
    pub sentences: Vec<String>,
}

impl Section {
    /// The section as text, with a newline at its end.
    pub fn render(&self, form: Form) -> String {
        let grid = self.grid.render(form);
        let mut text = match form {
            Form::Markdown => format!("### {}\n\n{grid}\n\n", self.title),
            Form::Plain | Form::Bold => format!("{}\n{grid}\n", self.title),
        };
        for sentence in &self.sentences {
            // Two spaces keep Markdown from joining the lines.
            let ending = if form == Form::Markdown { "  " } else { "" };
            let _ = writeln!(text, "{sentence}{ending}");
        }
        text
    }
}
