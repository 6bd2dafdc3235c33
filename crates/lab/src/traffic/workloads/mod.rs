//! The workloads that routing is judged on: a name, settings, and a generator each.
//!
//! A workload is one file and one entry of [`WORKLOADS`]; help, reports and tests derive from that list. Each is made from a
//! seed alone: the same seed gives equal traffic. Rates are chosen for eight engines that take 44 µs for a prompt token and 40 µs
//! plus 76 ns for each token of context for an output token: with perfect reuse that is 55 to 90 % of their time, and 30 % for
//! the stand-in, which keeps the trace's own rate.

mod agentic;
mod b2b;
mod chat;
mod conversation;
mod hot_prefix;
mod uniform;
mod zipf;

use std::fmt;
use std::str::FromStr;

use warmroute_kv::Tokens;
use warmroute_routing::policy::{BadChoice, Chosen, Named, OptionInfo, Options};

use super::dice::{Arrivals, Dice};
use super::{Ask, Session, Traffic};

/// Every workload, in the order in which help and tables show them.
pub static WORKLOADS: &[WorkloadInfo] =
    &[conversation::INFO, agentic::INFO, b2b::INFO, hot_prefix::INFO, zipf::INFO, uniform::INFO, chat::INFO];

/// Tokens in a block, unless a workload has a reason for others.
const BLOCK: Tokens = Tokens(64);

/// The fleet of workloads that say nothing else: what is left of 80 GB beside a model of 32 billion parameters.
const FLEET: FleetSize = FleetSize { workers: 8, cache: Tokens(307_200) };

/// A workload as people see it, and how to make one.
#[derive(Debug)]
pub struct WorkloadInfo {
    /// What flags and reports call it.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// The settings it takes.
    pub options: &'static [OptionInfo],
    /// Tokens in one block.
    pub block: Tokens,
    /// The fleet it is meant for.
    pub fleet: FleetSize,
    /// Makes its sessions from a seed, in the order in which they start.
    pub make: fn(&Options<'_>, u64) -> Vec<Session>,
}

/// How many workers there are, and what they remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetSize {
    /// Workers.
    pub workers: usize,
    /// Tokens in each worker's KV cache.
    pub cache: Tokens,
}

impl Named for WorkloadInfo {
    const KIND: &'static str = "workload";

    fn name(&self) -> &'static str {
        self.name
    }

    fn options(&self) -> &'static [OptionInfo] {
        self.options
    }
}

/// Which workload, with which settings: `b2b`, or `b2b:rate=20`.
#[derive(Clone, Debug)]
pub struct Workload(Chosen<WorkloadInfo>);

impl Workload {
    /// Parses `name` or `name:option=value,...`.
    ///
    /// # Errors
    /// If there is no such workload or option, or the value is no number in the option's range.
    pub fn parse(text: &str) -> Result<Self, BadChoice> {
        Chosen::parse(text, WORKLOADS).map(Self)
    }

    /// What there is to know about it.
    pub const fn info(&self) -> &'static WorkloadInfo {
        self.0.info()
    }

    /// The fleet it is meant for.
    pub const fn fleet(&self) -> FleetSize {
        self.0.info().fleet
    }

    /// What is asked, and when.
    pub fn traffic(&self, seed: u64) -> Traffic {
        let info = self.0.info();
        Traffic { name: self.to_string(), block: info.block, sessions: (info.make)(&self.0.options(), seed) }
    }
}

impl FromStr for Workload {
    type Err = BadChoice;

    fn from_str(text: &str) -> Result<Self, BadChoice> {
        Self::parse(text)
    }
}

/// As it is parsed; settings at their defaults are left out.
impl fmt::Display for Workload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// An open loop: `requests` requests at `rate` a second, each a session of its own, whatever became of earlier ones.
fn open_loop(options: &Options<'_>, dice: Dice, mut ask: impl FnMut() -> Ask) -> Vec<Session> {
    let arrivals = Arrivals::new(dice, options.get("rate")).take(options.count("requests"));
    (0..).zip(arrivals).map(|(key, start)| Session::one(key, start, ask())).collect()
}

/// The setting `rate` of an open loop.
const fn request_rate(default: f64, range: (f64, f64)) -> OptionInfo {
    OptionInfo { name: "rate", default, range, about: "requests per second" }
}

/// The setting `requests` of an open loop.
const fn request_count(default: f64) -> OptionInfo {
    OptionInfo { name: "requests", default, range: (1.0, 1e6), about: "requests in all" }
}

/// The setting `rate` of a closed loop.
const fn session_rate(default: f64, about: &'static str) -> OptionInfo {
    OptionInfo { name: "rate", default, range: (0.001, 1_000.0), about }
}

/// The setting `sessions` of a closed loop.
const fn session_count(default: f64) -> OptionInfo {
    OptionInfo { name: "sessions", default, range: (1.0, 1e5), about: "sessions in all" }
}
