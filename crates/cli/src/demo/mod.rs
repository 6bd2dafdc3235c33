//! `warmroute demo`: workers, gateway and benchmark in one process, from nothing to the tables.
//!
//! The caches are made small on purpose: together the workers can hold all system prompts once, but none can hold
//! them all. That is what tells policies apart, as a fleet's real traffic does.

use std::time::Instant;

use clap::Args;
use warmroute_kv::Tokens;
use warmroute_lab::client::Server;
use warmroute_lab::progress::Progress;
use warmroute_lab::ruler::Ruler;
use warmroute_lab::workload::{Kind, Workload};
use warmroute_lab::{Fleet, Report, compare};
use warmroute_routing::policy::POLICIES;
use warmroute_worker::model::{BLOCK_TOKENS, ModelSource};

use self::local::{Ports, Workers, load};
use crate::bench::flags::{Policies, policies};
use crate::bench::{LoadFlags, OwnGateways, Subject, conclude};
use crate::{Verdict, signals};

mod local;

/// Share of the desks' system prompts that each worker's cache holds: about 40 %, so that no worker holds them all and three
/// do, with room for the questions in flight.
const CACHE_SHARE: f64 = 0.42;

/// How much longer another workload's longest prompt may be than the desks': both are cut to the same range, so up to all
/// of it, 400 tokens.
const PREAMBLE_ROOM: Tokens = Tokens(400);

/// The policy ratios are against.
const FIRST: &str = "random";

/// The policy `--serve` leaves running.
const SERVED: &str = "cache_aware";

/// See it work: three workers and a gateway on this machine, every routing policy on the same requests, the tables
#[derive(Args)]
pub(crate) struct Flags {
    /// Leave workers and gateway running afterwards, with cache_aware routing
    #[arg(long)]
    serve: bool,
    /// The model: `embedded`, a directory or .gguf file, or a name on the Hugging Face hub; for large ones lower --desks and --questions
    #[arg(long, env = "WARMROUTE_MODEL", default_value = "embedded")]
    model: ModelSource,
    /// Policies to run one after another, each in a fresh gateway with empty caches [default: all, random first]
    #[arg(long, env = "WARMROUTE_POLICIES", value_parser = policies)]
    policies: Option<Policies>,
    /// Port of the gateway; the workers take the next three. 0: any free ports
    #[arg(long, value_name = "PORT", env = "WARMROUTE_PORT_BASE", default_value_t = 8000)]
    port_base: u16,
    #[command(flatten)]
    load: LoadFlags,
}

pub(crate) async fn run(flags: Flags) -> anyhow::Result<Verdict> {
    let start = Instant::now();
    let ports = Ports::claim(flags.port_base)?;
    let model = load(flags.model.clone()).await?;
    let scout = Workers::scout(&model).await?;
    let scale = ruler(&scout, &model.name).await?;
    let workloads = flags.load.build(&scale).await?;
    // The desks decide, also when they are not run: a fleet that is left to serve should have room for real prompts.
    let desks = flags.load.build_one(Kind::Desks, &scale).await?;
    let cache = cache_tokens(&desks, &scale, Tokens(flags.load.max_tokens)).await?;
    scout.stop().await;

    let workers = Workers::start(&model, cache, ports).await?;
    let fleet = OwnGateways::new(&workers.urls(), ports.gateway(), flags.load.seed);
    let ruler = ruler(&workers, &model.name).await?;
    let subject = Subject { model: model.name.clone(), ruler, cache_tokens: Some(cache.0) };
    let report = measure(&flags, &fleet, workloads, subject).await?;
    let verdict = conclude(&report, flags.load.json)?;
    eprintln!("The demo took {} s.", start.elapsed().as_secs());
    if flags.serve {
        serve(&fleet, &model.name).await?;
    }
    workers.stop().await;
    Ok(verdict)
}

async fn ruler(workers: &Workers, model: &str) -> anyhow::Result<Ruler> {
    let urls = workers.urls();
    let first = urls.into_iter().next().expect("there is at least one worker");
    Ok(Ruler::of(Server::new(first), model).await?)
}

/// The size of each worker's cache: [`CACHE_SHARE`] of the desks' prompts, and room for a request of any workload.
async fn cache_tokens(desks: &Workload, ruler: &Ruler, answer: Tokens) -> anyhow::Result<Tokens> {
    let share = Tokens((desks.set.as_f64() * CACHE_SHARE).ceil() as u32);
    let longest = desks.longest(ruler).await? + answer + PREAMBLE_ROOM;
    Ok(Tokens::of(share.max(longest).get().next_multiple_of(BLOCK_TOKENS)))
}

async fn measure(
    flags: &Flags,
    fleet: &OwnGateways,
    workloads: Vec<Workload>,
    subject: Subject,
) -> anyhow::Result<Report> {
    let policies = flags.policies.clone().map_or_else(every_policy, |Policies(list)| list);
    let plan = subject.plan(&flags.load, workloads, policies, fleet.workers().to_vec());
    Ok(compare(&plan, fleet, Progress::Shown).await?)
}

/// All registered policies, the one to compare against first.
fn every_policy() -> Vec<String> {
    let mut names: Vec<String> = POLICIES.iter().map(|policy| policy.name.to_owned()).collect();
    names.sort_by_key(|name| name != FIRST);
    names
}

/// Runs the fleet until a signal comes.
async fn serve(fleet: &OwnGateways, model: &str) -> anyhow::Result<()> {
    let start = async {
        let gateway = fleet.start(SERVED).await?;
        let url = fleet.url(&gateway);
        eprintln!("\nThe gateway is at {url}, the workers behind it at:");
        for worker in fleet.workers() {
            eprintln!("  {}", worker.base());
        }
        eprintln!("Try it, twice, and watch x-warmroute-worker and cached_tokens; Ctrl-C ends it:\n");
        eprintln!(
            "  curl -i {url}/v1/chat/completions -H 'content-type: application/json' -d '{}'",
            example(model)
        );
        eprintln!("  curl {url}/v1/models");
        eprintln!("  curl {url}/metrics\n");
        Ok(gateway)
    };
    signals::serve(start, async |gateway| fleet.stop(gateway).await).await
}

/// A chat long enough to have whole blocks that can be cached.
fn example(model: &str) -> serde_json::Value {
    serde_json::json!({
        "model": model,
        "max_tokens": 32,
        "messages": [
            {"role": "system", "content": "You are the help desk of a small shop that sells bicycles in a town by the sea. \
                Answer every question in one short and friendly sentence. The shop opens at nine in the morning."},
            {"role": "user", "content": "When does the shop open?"},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registered_policy_is_compared_and_random_is_first() {
        let names = every_policy();
        assert_eq!(names.len(), POLICIES.len());
        assert_eq!(names[0], FIRST);
        assert!(names.iter().any(|name| name == SERVED));
    }

    #[tokio::test]
    async fn a_cache_holds_the_share_of_the_desks_and_at_least_one_request() {
        let shape = warmroute_lab::workload::Shape::default();
        let desks = Workload::build(Kind::Desks, &shape, &Ruler::Estimate).await.unwrap();
        let share = (desks.set.as_f64() * CACHE_SHARE).ceil();
        let cache = cache_tokens(&desks, &Ruler::Estimate, Tokens(16)).await.unwrap();
        assert!(cache.as_f64() >= share && cache.as_f64() < share + 16.0 && cache.0 % 16 == 0);
        let large = cache_tokens(&desks, &Ruler::Estimate, Tokens(10_000)).await.unwrap();
        assert!(large > Tokens(10_500));
    }
}
