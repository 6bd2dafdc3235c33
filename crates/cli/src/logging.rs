//! Logs: to stderr, as text for people or JSON lines for machines, filtered by `WARMROUTE_LOG`.

use std::io::IsTerminal;

use anyhow::Context;
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(Args)]
pub(crate) struct Logging {
    /// What to log: a level, or levels by module such as `info,warmroute_routing=trace`
    #[arg(
        long = "log",
        global = true,
        value_name = "FILTER",
        env = "WARMROUTE_LOG",
        default_value = "warn,warmroute_gateway=info,warmroute_worker=info,warmroute=info"
    )]
    filter: String,
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
    /// Starts logging for the rest of the process.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(&self.filter).with_context(|| {
            format!("`{}` is no log filter; hint: try `info` or `warmroute_gateway=debug`", self.filter)
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
