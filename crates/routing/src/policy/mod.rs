//! Policies: rules that choose one of the workers that take requests.
//!
//! A policy is one file and one word in `policies!`. Flags, help, config, metric labels, reference pages, benches and
//! the conformance tests derive from [`POLICIES`]. A comparison policy that is not shipped is a [`PolicyInfo`] elsewhere.

mod config;
#[cfg(test)]
mod conformance;

use warmroute_kv::Tokens;

pub use self::config::{BadPolicy, OptionInfo, Options, PolicyConfig};
use crate::chance::Chance;
use crate::request::{Reason, Request, WorkerId};

/// Declares the shipped policies: their modules, and the list that everything else is derived from.
macro_rules! policies {
    ($($name:ident)+) => {
        $(mod $name;)+

        /// Every shipped policy, in the order in which help and tables show them.
        pub static POLICIES: &[PolicyInfo] = &[$(PolicyInfo {
            name: stringify!($name),
            about: $name::ABOUT,
            options: $name::OPTIONS,
            build: |options| Box::new($name::build(options)),
        }),+];
    };
}

policies! { random round_robin least_loaded power_of_two prefix_hash cache_aware }

/// The policy used when none is named.
pub const DEFAULT: &str = "cache_aware";

/// A rule that chooses among workers.
pub trait Policy: Send {
    /// Chooses one of at least two candidates.
    fn choose(&mut self, request: &Request<'_>, among: Candidates<'_>, chance: &mut Chance) -> Choice;
}

/// A policy as people see it, and how to make one.
#[derive(Debug)]
pub struct PolicyInfo {
    /// What `--policy` calls it.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// The settings it takes.
    pub options: &'static [OptionInfo],
    /// Makes one.
    pub build: fn(&Options<'_>) -> Box<dyn Policy>,
}

/// A worker that could take the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Who.
    pub worker: WorkerId,
    /// Prompt tokens whose state it is believed to hold.
    pub overlap: Tokens,
    /// Prompt tokens it would have to compute.
    pub uncached: Tokens,
    /// Requests it has been sent that have not ended.
    pub in_flight: u32,
    /// Uncached prompt tokens it has been sent whose first token has not come.
    pub queued: Tokens,
    /// Uncached prompt tokens it has been sent lately, old ones counting less.
    pub recent: f64,
    /// The share of its cache that is in use, 0 to 1.
    pub fill: f64,
    /// The number of the decision that chose it last; 0 if none did.
    pub last_chosen: u64,
}

/// Workers to choose from, in order of their ids: never empty.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a>(&'a [Candidate]);

impl<'a> Candidates<'a> {
    /// The list, if there is anything in it.
    pub const fn new(candidates: &'a [Candidate]) -> Option<Self> {
        if candidates.is_empty() { None } else { Some(Self(candidates)) }
    }

    /// How many there are; at least one.
    pub const fn count(self) -> usize {
        self.0.len()
    }

    /// The candidate at `index`, counted modulo their number.
    pub const fn nth(self, index: usize) -> &'a Candidate {
        &self.0[index % self.0.len()]
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = &'a Candidate> {
        self.0.iter()
    }

    /// The one with the least `cost`, the first of equals. Costs are compared by `f64::total_cmp`.
    pub fn least<const N: usize>(self, cost: impl Fn(&Candidate) -> [f64; N]) -> &'a Candidate {
        let compare = |one: &[f64; N], other: &[f64; N]| {
            one.iter()
                .zip(other)
                .map(|(a, b)| a.total_cmp(b))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        };
        self.0
            .iter()
            .map(|candidate| (cost(candidate), candidate))
            .min_by(|(one, _), (other, _)| compare(one, other))
            .expect("candidates are never empty")
            .1
    }
}

/// What a policy chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// One of the candidates.
    pub worker: WorkerId,
    /// What decided.
    pub reason: Reason,
}
