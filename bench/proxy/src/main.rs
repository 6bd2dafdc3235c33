//! Warmroute and other proxies before the same stand-in workers, under the same load.
//!
//! Absolute figures differ between machines and hours; the ratios of one run are what counts. The first run installs what it lacks:
//! HAProxy and nginx from Debian, sglang-router, vllm-router and smg from PyPI into virtual environments in a cache directory.

mod chats;
mod connection;
mod contender;
mod cost;
mod figure;
mod install;
mod launch;
mod load;
mod memory;
mod place;
mod process;
mod requests;
mod routing;
mod standins;

use std::fs;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::contender::{CONTENDERS, Contender};
use crate::place::Bench;

/// Compares proxies: what a request costs in each, how they route, what memory they take.
#[derive(Parser)]
struct Arguments {
    /// What to measure
    #[arg(value_enum, default_value = "cost")]
    what: What,
    /// Warmroute's binary [default: what `scripts/dist.sh` made here]
    #[arg(long, value_name = "FILE")]
    warmroute: Option<PathBuf>,
    /// The policy of the contender `warmroute`, options and all; other settings come through its environment variables
    #[arg(long, value_name = "POLICY", default_value = "cache_aware")]
    policy: String,
    /// Only these proxies, by their names in the tables; repeat or separate by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Only the cases or checks whose name holds this
    #[arg(long, value_name = "TEXT", default_value = "")]
    case: String,
    /// Rounds; figures are their medians [default: 5; routing 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of load on each proxy in each round of `cost`
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Threads that every proxy may use
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Prints JSON instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// CPU per request, added time, throughput and memory, before stand-ins that answer at once
    Cost,
    /// What the proxies make of workers' caches: a hot prefix, prompts that share little, chats
    Routing,
    /// Memory: many prompts, a stalled client, held connections and streams
    Memory,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // Ten thousand connections are more than many a login allows without asking.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        // Whoever ends the bench also ends what it has started: what is dropped here is killed.
        tokio::select! {
            done = run(&arguments) => done,
            _ = terminated.recv() => bail!("ended by a signal"),
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let bench = Bench::new(arguments.warmroute.clone(), arguments.policy.clone(), arguments.threads.max(1))?;
    let contenders = chosen(arguments, &bench);
    let load_before = load_average();
    match arguments.what {
        What::Cost => {
            let effort =
                cost::Effort { rounds: arguments.rounds.unwrap_or(5).max(1), seconds: arguments.seconds };
            let rows = cost::measure(&bench, &contenders, effort, &arguments.case).await?;
            print(arguments.json, &rows, cost::tables)?;
        }
        What::Routing => {
            let rounds = arguments.rounds.unwrap_or(3).max(1);
            let rows = routing::measure(&bench, &contenders, rounds, &arguments.case).await?;
            print(arguments.json, &rows, routing::tables)?;
        }
        What::Memory => print(arguments.json, &memory::measure(&bench, &contenders).await?, memory::tables)?,
    }
    eprintln!(
        "Load average before {load_before} and after {}; {} thread(s) for each proxy.",
        load_average(),
        bench.threads
    );
    Ok(())
}

/// Those asked for that can be had; of the others it is said why not.
fn chosen(arguments: &Arguments, bench: &Bench) -> Vec<&'static Contender> {
    let asked = |contender: &&Contender| match arguments.what {
        _ if !arguments.only.is_empty() => arguments.only.iter().any(|name| name == contender.name),
        What::Routing => contender.routes,
        What::Cost | What::Memory => contender.costs,
    };
    let there = |contender: &&Contender| match contender.source.program(bench) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("{} is left out: {error:#}", contender.name);
            false
        }
    };
    CONTENDERS.iter().filter(asked).filter(there).collect()
}

fn print<T: Serialize>(json: bool, rows: &[T], tables: fn(&[T]) -> String) -> anyhow::Result<()> {
    match json {
        true => println!("{}", serde_json::to_string_pretty(rows)?),
        false => print!("{}", tables(rows)),
    }
    Ok(())
}

/// Of the last minute, for the page: how much else was going on.
fn load_average() -> String {
    let line = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    line.split(' ').next().unwrap_or("unknown").to_owned()
}
