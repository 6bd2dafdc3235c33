//! What is written down of every request: a line in the access log, a row in the request log, and the latest ones for the admin API.
//!
//! An [`Entry`] is filled in while its request is under way and entered once, when that is over, whichever way it ended. Entering never
//! waits: lines go to a thread of each log through a bounded queue, and what does not fit is dropped and counted.

mod access;
mod entry;
mod lines;
mod recent;
mod trace;

use std::sync::Arc;

pub(crate) use self::access::Line;
pub(crate) use self::entry::{Entry, Prompt};
use self::lines::{Kind, Lines};
use self::recent::Recent;
use crate::config::GatewayConfig;
use crate::core::Core;

/// A log that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "the {log} {sink} cannot be opened: {source}; hint: check the path and its permissions, or leave {log} off"
)]
pub struct LogError {
    log: &'static str,
    sink: String,
    source: std::io::Error,
}

/// Everything that is written down.
pub(crate) struct Journal {
    core: Arc<Core>,
    access: Option<Lines>,
    requests: Option<Lines>,
    recent: Recent,
}

impl Journal {
    /// As the settings want it.
    pub(crate) fn open(config: &GatewayConfig, core: &Arc<Core>) -> Result<Self, LogError> {
        let open = |log, sink: &Option<_>, kind| {
            let open = |sink| Lines::open(log, sink, kind, config.log_queue_lines);
            sink.as_ref().map(open).transpose()
        };
        let block_bytes = config.text_chunk_bytes;
        Ok(Self {
            core: Arc::clone(core),
            access: open("access_log", &config.access_log.0, Kind::Access)?,
            requests: open("request_log", &config.request_log.0, Kind::Trace { block_bytes })?,
            // Only the admin API shows them.
            recent: Recent::new(if config.admin_listen.0.is_some() { config.recent_decisions } else { 0 }),
        })
    }

    /// Whether anybody will read what is entered.
    pub(crate) fn wants_entries(&self) -> bool {
        self.access.is_some() || self.requests.is_some() || self.recent.wants_entries()
    }

    /// Whether prompts, as hashes of their blocks, are written down too.
    pub(crate) fn wants_prompts(&self) -> bool {
        self.requests.is_some()
    }

    /// A request is over.
    pub(crate) fn enter(&self, entry: Arc<Entry>) {
        for (log, lines) in [("access", &self.access), ("request", &self.requests)] {
            if let Some(lines) = lines
                && !lines.send(&entry)
            {
                self.core.metrics.line_dropped(log);
            }
        }
        self.recent.push(entry);
    }

    /// The latest requests that match, newest first.
    pub(crate) fn recent(&self, most: usize, matches: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        self.recent.latest(most, matches)
    }

    /// Opens the files anew, as after a rotation of logs.
    pub(crate) fn reopen(&self) {
        for lines in [&self.access, &self.requests].into_iter().flatten() {
            lines.reopen();
        }
    }

    /// Writes what waits, and ends the threads. Blocks for as long as that takes.
    pub(crate) fn close(&self) {
        for lines in [&self.access, &self.requests].into_iter().flatten() {
            lines.close();
        }
    }
}
