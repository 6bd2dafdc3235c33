//! Logs: to stderr, as text for people or JSON lines for machines, filtered by `WARMROUTE_LOG`.

use std::io::IsTerminal;

use anyhow::Context;
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(Args)]
pub(crate) struct Logging {
    /// What to log: a level, or levels by module such as `info,warmroute_gateway=debug` [default: info for services, else warn]
    #[arg(long = "log", global = true, value_name = "FILTER", env = "WARMROUTE_LOG")]
    filter: Option<String>,
    /// How log lines look
    #[arg(long = "log-format", global = true, value_enum, env = "WARMROUTE_LOG_FORMAT", default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl Logging {
    /// Starts logging for the rest of the process, at `usual` unless the user says otherwise.
    pub(crate) fn start(&self, usual: &str) -> anyhow::Result<()> {
        let filter = self.filter.as_deref().unwrap_or(usual);
        let filter = EnvFilter::try_new(filter).with_context(|| {
            format!("`{filter}` is no log filter; hint: try `info` or `warmroute_gateway=debug`")
        })?;
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let started = match self.format {
            Format::Text => builder.with_ansi(coloured()).try_init(),
            Format::Json => builder.json().flatten_event(true).try_init(),
        };
        started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
    }
}

/// Colour on a terminal, unless <https://no-color.org> is asked for.
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
