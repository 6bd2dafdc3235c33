//! The `warmroute` binary: arguments in, one of the crates run, an exit code out.
//!
//! Each subcommand is a module with its flags and a `run`; what it does is in the crates. Data goes to stdout, talk to
//! stderr. Exit codes: 0 done and all well; 1 failed, or done with failed requests, wrong answers or broken promises;
//! 2 wrong usage.

use std::process::ExitCode;

use clap::{Arg, ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::logging::Logging;

mod allocator;
mod bench;
mod demo;
mod doctor;
mod gateway;
mod health;
#[cfg(target_os = "linux")]
mod heap;
mod index;
mod lists;
mod logging;
mod signals;
mod simulate;
mod sockets;
mod worker;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// A cache-aware router for LLM inference: each request goes to the worker that already holds its prompt.
#[derive(Parser)]
#[command(name = "warmroute", version, long_version = LONG_VERSION, propagate_version = true, max_term_width = 120, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    logging: Logging,
    #[command(subcommand)]
    command: Command,
}

/// With the commit that it was built from, where that is known.
const LONG_VERSION: &str = match option_env!("WARMROUTE_COMMIT") {
    Some(commit) => commit,
    None => env!("CARGO_PKG_VERSION"),
};

const EXIT_CODES: &str = "\
Exit codes: 0 done and all well; 1 failed, or done with failed requests, wrong answers or broken promises;
2 wrong usage.
Most flags can be set in the environment as well, as their help shows; the flag wins.";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Flags),
    Gateway(gateway::Flags),
    Worker(worker::Flags),
    Bench(bench::Flags),
    Simulate(Box<simulate::Flags>),
    Index(index::Flags),
    Doctor(doctor::Flags),
    Health(health::Flags),
}

impl Command {
    /// Services tell what they do; the others print it.
    fn usual_log(&self) -> &'static str {
        match self {
            Self::Gateway(_) | Self::Worker(_) | Self::Index(_) => "info",
            Self::Demo(_) | Self::Bench(_) | Self::Doctor(_) | Self::Simulate(_) | Self::Health(_) => "warn",
        }
    }
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
    let arguments = match Arguments::from_arg_matches(&command().get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let outcome =
        arguments.logging.start(arguments.command.usual_log()).and_then(|()| run(arguments.command));
    match outcome {
        Ok(Verdict::Well) => ExitCode::SUCCESS,
        Ok(Verdict::Unwell) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// The command line: `--help` fits a screen, and `--help-all` has everything.
fn command() -> clap::Command {
    let helped = |command: clap::Command| {
        let help = Arg::new("help").short('h').long("help").action(ArgAction::HelpShort);
        let help_all = Arg::new("help-all").long("help-all").action(ArgAction::HelpLong);
        command
            .disable_help_flag(true)
            .arg(help.help("Print help"))
            .arg(help_all.help("Print help with everything in it"))
    };
    helped(Arguments::command()).disable_help_subcommand(true).mut_subcommands(helped)
}

/// An error and its causes, each said once: some messages quote their cause, some leave it to whoever prints them.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

fn run(command: Command) -> anyhow::Result<Verdict> {
    // A simulation computes and waits for nothing: it has threads of its own.
    let command = match command {
        Command::Simulate(flags) => return simulate::run(*flags),
        command => command,
    };
    let mut runtime = match command {
        // Several threads, and even one of a pool, take what came at the same time in another order than it came in. What is sent to a
        // worker counts on prompts before it, and what takes long has threads of its own.
        Command::Worker(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Demo(flags) => demo::run(flags).await,
            Command::Gateway(flags) => gateway::run(flags).await,
            Command::Worker(flags) => worker::run(flags).await,
            Command::Bench(flags) => bench::run(flags).await,
            Command::Index(flags) => index::run(flags).await,
            Command::Doctor(flags) => doctor::run(flags).await,
            Command::Health(flags) => health::run(flags).await,
            Command::Simulate(_) => unreachable!("it has run above"),
        }
    });
    // A model that is still loading when a signal comes must not keep the process alive.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a terminal that nobody has made small, less the prompt.
    const SCREEN: usize = 50;

    #[test]
    fn the_help_of_every_command_fits_a_screen_and_all_of_it_is_in_help_all() {
        for subcommand in command().get_subcommands_mut() {
            let (short, long) =
                (subcommand.render_help().to_string(), subcommand.render_long_help().to_string());
            let (name, lines) = (subcommand.get_name(), short.lines().count());
            assert!(lines <= SCREEN, "{name} --help has {lines} lines:\n{short}");
            for argument in subcommand.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(long.contains(&format!("--{argument}")), "{argument} is not in {name} --help-all");
            }
        }
    }

    #[test]
    fn a_cause_that_is_quoted_already_is_not_said_again() {
        let inner = std::io::Error::other("disk on fire");
        assert_eq!(told(&anyhow::Error::new(inner).context("cannot write")), "cannot write: disk on fire");
        assert_eq!(
            told(&anyhow::anyhow!("disk on fire").context("no: disk on fire; hint: run")),
            "no: disk on fire; hint: run"
        );
    }

    #[test]
    fn the_flags_of_all_subcommands_fit_together() {
        command().debug_assert();
    }
}
