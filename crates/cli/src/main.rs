//! The `warmroute` binary: arguments in, one of the crates run, an exit code out.
//!
//! Each subcommand is a module with its flags and a `run`; what it does is in the crates. Data goes to stdout, talk to
//! stderr. Exit codes: 0 done and all well; 1 failed, or done with failed requests or wrong answers; 2 wrong usage.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::logging::Logging;

mod bench;
mod demo;
mod gateway;
mod health;
mod logging;
mod signals;
mod worker;

/// Allocation is most of what a proxy does per request; mimalloc does it with less locking than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A cache-aware router for LLM inference: each request goes to the worker that already holds its prompt.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 120, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    logging: Logging,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done and all well; 1 failed, or done with failed requests or wrong answers; 2 wrong usage.
Every flag can be set in the environment as well, as its help shows; the flag wins.";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Flags),
    Gateway(gateway::Flags),
    Worker(worker::Flags),
    Bench(bench::Flags),
    Health(health::Flags),
}

/// How a subcommand that did not fail ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// All well.
    Well,
    /// It ran to its end, and what it found is not as it should be; that has been printed.
    Unwell,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = arguments.logging.start().and_then(|()| run(arguments.command));
    match outcome {
        Ok(Verdict::Well) => ExitCode::SUCCESS,
        Ok(Verdict::Unwell) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Demo(flags) => demo::run(flags).await,
            Command::Gateway(flags) => gateway::run(flags).await,
            Command::Worker(flags) => worker::run(flags).await,
            Command::Bench(flags) => bench::run(flags).await,
            Command::Health(flags) => health::run(flags).await,
        }
    });
    // A model that is still loading when a signal comes must not keep the process alive.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_of_all_subcommands_fit_together() {
        Arguments::command().debug_assert();
    }
}
