//! The flags of `warmroute simulate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use warmroute_lab::simulate::suite::Regime;
use warmroute_lab::simulate::{EngineModel, View};

use super::help;
use super::values::{
    NamedPolicy, Several, Sweep, Timestamps, change, count, engine_models, milliseconds, policies, rate,
    regimes, sweep, timestamps, tokens, view, workloads,
};
use warmroute_lab::traffic::Workload;

/// Simulate: the shipped router in virtual time, any policy on any fleet
#[derive(Args)]
#[command(after_help = help::SHORT, after_long_help = help::lists())]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(super) traffic: TrafficFlags,
    #[command(flatten)]
    pub(super) fleet: FleetFlags,
    #[command(flatten)]
    pub(super) runs: RunFlags,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

/// What is asked.
#[derive(Args)]
#[command(next_help_heading = "Traffic")]
pub(super) struct TrafficFlags {
    /// Workloads with options, as b2b:rate=10, or all; repeat or separate by commas
    #[arg(long = "workload", value_name = "LIST", value_parser = workloads)]
    pub(super) workloads: Vec<Several<Workload>>,
    /// A trace in Mooncake's schema: one JSON object a line, prompts as numbers of blocks
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// spread (each at some time within its step of 3 s) or as-is
    #[arg(long, value_name = "HOW", default_value = "spread", value_parser = timestamps)]
    pub(super) trace_timestamps: Timestamps,
    /// Tokens in a block of the trace
    #[arg(long, value_name = "TOKENS", default_value = "512", value_parser = tokens)]
    pub(super) trace_block: u32,
    /// Arrivals come this many times as fast
    #[arg(long, value_name = "FACTOR", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// Regimes of the suite instead, with their own fleets, or all; --trace is the conversation
    #[arg(long, value_name = "LIST", value_parser = regimes, conflicts_with_all = [
        "workloads", "rate", "workers", "cache_tokens", "gateways", "view_lag_ms", "changes", "sweep",
    ])]
    pub(super) suite: Option<Several<&'static Regime>>,
}

/// What serves it.
#[derive(Args)]
#[command(next_help_heading = "Fleet")]
pub(super) struct FleetFlags {
    /// Workers at the start; the workload's own number, if not given
    #[arg(long, value_name = "COUNT", value_parser = count)]
    pub(super) workers: Option<usize>,
    /// Tokens in each worker's cache, as 307k or 1M; the workload's own, if not given
    #[arg(long, value_name = "TOKENS", value_parser = tokens)]
    pub(super) cache_tokens: Option<u32>,
    /// How long steps take: h100, mocker or all
    #[arg(long, value_name = "NAME", default_value = "h100", value_parser = engine_models)]
    pub(super) engine_model: Several<EngineModel>,
    /// Who speaks for the caches: exact (the engines) or shadow (a guess)
    #[arg(long, value_name = "WHO", default_value = "exact", value_parser = view)]
    pub(super) view: View,
    /// Gateways that share the traffic
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = count)]
    pub(super) gateways: usize,
    /// How late a gateway hears of what engines and other gateways did
    #[arg(long, value_name = "MS", default_value = "0", value_parser = milliseconds)]
    pub(super) view_lag_ms: Duration,
    /// AT:WHAT:WORKER, as 300s:leave:3, 600s:join, 60s:slow=2:1; repeat
    #[arg(long = "change", value_name = "CHANGE", value_parser = change)]
    pub(super) changes: Vec<String>,
    /// Vary one thing: workers=2,4,8 or cache-tokens=100k,1M or rate=1,2
    #[arg(long, value_name = "SWEEP", value_parser = sweep)]
    pub(super) sweep: Option<Sweep>,
}

/// What is compared.
#[derive(Args)]
#[command(next_help_heading = "Runs")]
pub(super) struct RunFlags {
    /// Policies with options, rivals as rival:NAME; repeat or separate by commas
    #[arg(long = "policy", value_name = "LIST", default_value = "all", value_parser = policies)]
    pub(super) policies: Vec<Several<NamedPolicy>>,
    /// The first seed, of the requests and of the policies' chance
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// How many seeds; each is a run of its own
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = count)]
    pub(super) seeds: usize,
    /// Longest time to the first token of a good answer
    #[arg(long, value_name = "MS", default_value = "2000", value_parser = milliseconds)]
    pub(super) slo_ttft_ms: Duration,
    /// Longest mean time between its further tokens
    #[arg(long, value_name = "MS", default_value = "100", value_parser = milliseconds)]
    pub(super) slo_tpot_ms: Duration,
    /// Runs at once; as many as there are cores, if not given
    #[arg(long, value_name = "COUNT", value_parser = count)]
    pub(super) jobs: Option<usize>,
}

/// How it is told.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputFlags {
    /// Every run as JSON instead of tables
    #[arg(long, conflicts_with_all = ["markdown", "wide"])]
    pub(super) json: bool,
    /// Tables as GitHub's Markdown
    #[arg(long)]
    pub(super) markdown: bool,
    /// Tables with every column
    #[arg(long)]
    pub(super) wide: bool,
    /// Draw the runs; for one workload, fleet and engine model
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,
}
