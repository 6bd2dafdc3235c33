//! Our block index and other projects' on the same operations, in one process and interleaved rounds.
//!
//! Absolute figures differ between machines and hours; the ratios of one run are what counts.

mod chain_index;
mod contender;
mod dynamo;
mod holes;
mod measure;
mod ours;
mod report;
#[path = "../../../crates/routing/benches/shapes/mod.rs"]
mod shapes;
mod trace;

use std::alloc::System;
use std::path::PathBuf;

use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts what each index keeps. All contenders pay the same few nanoseconds per allocation for it.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Compares block indexes: two made loads, and a trace if one is given.
#[derive(Parser)]
struct Arguments {
    /// A trace in the Mooncake schema (JSON lines with `hash_ids`).
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Rounds per load; figures are medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
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
