//! Workers listed in a file: TOML with `[[workers]]` tables, or one URL a line. It is read again whenever it changes.

use serde::Deserialize;

use super::{Source, SourceError};
use crate::config::{FilePath, WorkerConfig};
use crate::watch::Watch;

/// A file that lists workers.
pub(super) struct Listing {
    path: FilePath,
    watch: Watch,
    /// What was in it, so that a notice without a change is passed over.
    content: Option<String>,
    /// Whether the last reading failed, which is told once.
    failed: bool,
}

impl Listing {
    pub(super) fn new(path: FilePath) -> Self {
        let watch = Watch::new(std::slice::from_ref(&path.0));
        Self { path, watch, content: None, failed: false }
    }

    /// What it says now, if that is something else than before.
    async fn look(&mut self) -> Option<Result<Vec<WorkerConfig>, SourceError>> {
        match tokio::fs::read_to_string(&self.path.0).await {
            Ok(content) if self.content.as_ref() == Some(&content) => None,
            Ok(content) => {
                self.failed = false;
                let workers = parse(&content);
                self.content = Some(content);
                Some(workers.map_err(|why| SourceError::BadFile { path: self.path.clone(), why }))
            }
            Err(_) if self.failed => None,
            Err(source) => {
                self.failed = true;
                self.content = None;
                Some(Err(SourceError::Unreadable { path: self.path.clone(), source }))
            }
        }
    }
}

impl Source for Listing {
    async fn next(&mut self) -> Result<Vec<WorkerConfig>, SourceError> {
        loop {
            let first = self.content.is_none() && !self.failed;
            if !first {
                self.watch.changed().await;
            }
            if let Some(told) = self.look().await {
                return told;
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    workers: Vec<WorkerConfig>,
}

fn parse(content: &str) -> Result<Vec<WorkerConfig>, String> {
    if content.contains("[[workers]]") {
        let tables: Result<Tables, _> = toml::from_str(content);
        return tables.map(|tables| tables.workers).map_err(|error| error.to_string());
    }
    let lines = (1..).zip(content.lines());
    let entries = lines.map(|(line, text)| (line, text.split('#').next().unwrap_or_default().trim()));
    entries
        .filter(|(_, text)| !text.is_empty())
        .map(|(line, text)| text.parse().map_err(|error| format!("line {line}: {error}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(content: &str) -> Vec<String> {
        parse(content).unwrap().iter().map(|worker| worker.url.to_string()).collect()
    }

    #[test]
    fn lines_and_tables_are_both_understood() {
        assert_eq!(urls("# ours\nhttp://a:1\n\n  http://b:2 # the new one\n"), ["http://a:1", "http://b:2"]);
        assert_eq!(urls("[[workers]]\nurl = \"http://a:1\"\n"), ["http://a:1"]);
        assert!(urls("").is_empty());
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let error = parse("http://a:1\nftp://b:1").unwrap_err();
        assert!(error.starts_with("line 2: worker `ftp://b:1` cannot be used"), "{error}");
        let error = parse("[[workers]]\nulr = \"http://a:1\"").unwrap_err();
        assert!(error.contains("line 2") && error.contains("ulr"), "{error}");
    }
}
