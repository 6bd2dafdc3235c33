//! Our block index and other projects' on the same operations, and the way to it from an engine's messages, in one process and
//! interleaved rounds.
//!
//! Absolute figures differ between machines and hours; the ratios of one run are what counts.

mod chain_index;
mod contender;
mod dynamo;
mod holes;
mod ingestion;
mod measure;
mod ours;
mod report;
#[path = "../../../crates/routing/benches/shapes/mod.rs"]
mod shapes;
mod sockets;
mod trace;

use std::alloc::System;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts what each index keeps. All contenders pay the same few nanoseconds per allocation for it.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What is compared.
#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    /// Block indexes: two made loads, and a trace if one is given.
    Index,
    /// The way from the bytes of engines' messages to the index.
    Ingestion,
    /// The same from engines' sockets, by whole indexer services.
    Sockets,
}

/// Compares block indexes, or how they are fed.
#[derive(Parser)]
struct Arguments {
    #[arg(value_enum, default_value = "index")]
    subject: Subject,
    /// A trace in the Mooncake schema (JSON lines with `hash_ids`).
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Our program, for `sockets`.
    #[arg(long, default_value = "target/guided/warmroute")]
    warmroute: PathBuf,
    /// Rounds per load; figures are medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.subject {
        Subject::Index => index(&arguments),
        Subject::Ingestion => ingestion(&arguments),
        Subject::Sockets => sockets(&arguments),
    }
}

fn index(arguments: &Arguments) -> anyhow::Result<()> {
    let mut loads: Vec<_> = shapes::SHAPES.iter().map(shapes::Shape::load).collect();
    if let Some(path) = &arguments.trace {
        loads.push(trace::load(path)?);
    }
    let exactness = holes::exactness();
    let figures: Vec<_> = loads.iter().map(|load| measure::figures(load, arguments.rounds.max(1))).collect();
    if arguments.json {
        let all = serde_json::json!({ "figures": figures.concat(), "exactness": exactness });
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    figures.iter().for_each(|load| println!("{}", report::table(load)));
    println!("{}", report::exactness(&exactness));
    eprintln!(
        "\nRates are per second of this process's CPU time, medians of {} rounds, +- half their range. Reading the clock \
         adds {:.0} ns to p50 and p99.\nBytes of heap per distinct pair of worker and block (held), and per \
         block told by store events, repeats included. Ratios are of our rate to theirs.",
        arguments.rounds,
        measure::clock_ns()
    );
    Ok(())
}

fn ingestion(arguments: &Arguments) -> anyhow::Result<()> {
    let rounds = arguments.rounds.max(1);
    let figures: Vec<_> = ingestion::FLEETS.iter().map(|fleet| ingestion::figures(fleet, rounds)).collect();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures.concat())?);
        return Ok(());
    }
    figures.iter().for_each(|fleet| println!("{}", report::ingestion(fleet)));
    eprintln!(
        "\nBlocks that messages told of, coming and leaving, per second of this process's CPU time (user and system, all \
         threads): medians\nof {rounds} rounds, +- half their range. Heap held when the publishers hold the most, and left \
         when they hold nothing."
    );
    Ok(())
}

fn sockets(arguments: &Arguments) -> anyhow::Result<()> {
    let rounds = arguments.rounds.max(1);
    let of = |fleet| sockets::figures(fleet, rounds, &arguments.warmroute);
    let figures: Vec<_> = ingestion::FLEETS.iter().map(of).collect::<anyhow::Result<_>>()?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures.concat())?);
        return Ok(());
    }
    figures.iter().for_each(|fleet| println!("{}", report::sockets(fleet)));
    eprintln!(
        "\nBlocks that messages told of, coming and leaving, per second of the service's CPU time (user and system, all \
         threads): medians\nof {rounds} rounds, +- half their range. Resident memory when all publishers are registered, \
         when they hold the most,\nand when they hold nothing any more."
    );
    Ok(())
}
