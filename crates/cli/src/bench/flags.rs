//! The flags that say what load is sent; `bench` and `demo` share them.

use std::time::Duration;

use clap::Args;
use warmroute_lab::ruler::Ruler;
use warmroute_lab::workload::{Kind, Shape, Workload, WorkloadError};
use warmroute_routing::policy::PolicyConfig;

use crate::lists::members;

/// What load is sent.
#[derive(Args, Clone)]
pub(crate) struct LoadFlags {
    /// Print the report as JSON on stdout instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Seed of the requests and of the policies' chance: the same seed, the same requests
    #[arg(long, env = "WARMROUTE_SEED", default_value_t = Shape::default().seed)]
    pub(crate) seed: u64,
    /// Which requests: phrases, desks, preamble, or all; repeat or separate by commas
    #[arg(long = "workload", value_name = "NAME", env = "WARMROUTE_WORKLOADS", value_delimiter = ',', default_value = "all", value_parser = kinds)]
    workloads: Vec<Kinds>,
    /// Help desks, each with a system prompt of 500 to 900 tokens; fewer for slow models
    #[arg(long, value_name = "COUNT", env = "WARMROUTE_DESKS", default_value_t = Shape::default().desks)]
    desks: usize,
    /// Questions asked of each desk
    #[arg(long, value_name = "COUNT", env = "WARMROUTE_QUESTIONS", default_value_t = Shape::default().questions)]
    questions: usize,
    /// Requests in flight at once, instead of each workload's own number (phrases 1, the others 2)
    #[arg(long, value_name = "CLIENTS", env = "WARMROUTE_CONCURRENCY", value_parser = at_least_one)]
    pub(crate) concurrency: Option<usize>,
    /// Tokens each request is answered with, at most
    #[arg(long, value_name = "TOKENS", env = "WARMROUTE_MAX_TOKENS", default_value_t = 16)]
    pub(crate) max_tokens: u32,
    /// Seconds a request may take; longer counts as failed
    #[arg(long, value_name = "SECONDS", env = "WARMROUTE_REQUEST_TIMEOUT_S", default_value_t = 300)]
    request_timeout_s: u64,
}

impl LoadFlags {
    /// Longest wait for one answer.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_s)
    }

    /// Writes the workloads asked for, in the order they run.
    pub(crate) async fn build(&self, ruler: &Ruler) -> Result<Vec<Workload>, WorkloadError> {
        let asked: Vec<Kind> = self.workloads.iter().flat_map(|kinds| kinds.0.iter().copied()).collect();
        let mut workloads = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| asked.contains(kind)) {
            workloads.push(self.build_one(kind, ruler).await?);
        }
        Ok(workloads)
    }

    /// Writes one workload, asked for or not.
    pub(crate) async fn build_one(&self, kind: Kind, ruler: &Ruler) -> Result<Workload, WorkloadError> {
        let shape =
            Shape { seed: self.seed, desks: self.desks, questions: self.questions, ..Shape::default() };
        Workload::build(kind, &shape, ruler).await
    }
}

/// One value of `--workload`.
#[derive(Clone)]
struct Kinds(Vec<Kind>);

fn kinds(text: &str) -> Result<Kinds, WorkloadError> {
    if text == "all" { Ok(Kinds(Kind::ALL.to_vec())) } else { Ok(Kinds(vec![text.parse()?])) }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "at least one is needed; hint: --concurrency 2".to_owned())
}

/// Policies as one flag lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policies(pub(crate) Vec<String>);

/// Parses `random,prefix_hash:chars=20,cache_aware`.
pub(crate) fn policies(text: &str) -> Result<Policies, String> {
    let list = members(text);
    for policy in &list {
        policy.parse::<PolicyConfig>().map_err(|error| error.to_string())?;
    }
    Ok(Policies(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stay_with_their_policy() {
        assert_eq!(policies("random,cache_aware").unwrap().0, ["random", "cache_aware"]);
        assert_eq!(policies("prefix_hash:chars=40,random").unwrap().0, ["prefix_hash:chars=40", "random"]);
        assert_eq!(policies("cache_aware:wait=1,kappa=50").unwrap().0, ["cache_aware:wait=1,kappa=50"]);
        assert!(policies("warmest").unwrap_err().contains("hint:"));
        assert!(policies("").is_err());
    }
}
