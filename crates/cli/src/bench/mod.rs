//! `warmroute bench`: load against a gateway that runs, or policies side by side on workers that run.

use std::net::SocketAddr;

use anyhow::Context;
use clap::{ArgGroup, Args};
use warmroute_lab::client::{BaseUrl, Server};
use warmroute_lab::progress::Progress;
use warmroute_lab::report::table;
use warmroute_lab::ruler::Ruler;
use warmroute_lab::workload::Workload;
use warmroute_lab::{Fleet, Plan, Report, compare};
use warmroute_worker::model::BLOCK_TOKENS;

pub(crate) use self::flags::LoadFlags;
use self::flags::{Policies, policies};
use self::fleet::AsServed;
pub(crate) use self::fleet::OwnGateways;
use crate::Verdict;

pub(crate) mod flags;
mod fleet;

/// What a run against a server with a policy of its own is called in reports.
const AS_SERVED: &str = "as_served";

/// Measure: load against a URL, or routing policies side by side on workers that run
#[derive(Args)]
#[command(group = ArgGroup::new("target").args(["compare", "url"]).required(true))]
#[command(after_long_help = crate::gateway::policies())]
pub(crate) struct Flags {
    /// Policies to run one after another on the workers, each in a fresh gateway with empty caches; ratios are against the first
    #[arg(long, value_name = "POLICIES", requires = "workers", value_parser = policies, num_args = 0..=1, default_missing_value = "random,prefix_hash,cache_aware")]
    compare: Option<Policies>,
    /// A gateway, or any OpenAI-compatible server, to be measured as it is
    #[arg(long)]
    url: Option<BaseUrl>,
    /// A worker, such as http://127.0.0.1:8001; repeat or separate by commas. With --url: whose caches are emptied before the run
    #[arg(
        long = "worker",
        id = "workers",
        value_name = "URL",
        env = "WARMROUTE_WORKERS",
        value_delimiter = ','
    )]
    workers: Vec<BaseUrl>,
    /// The model to ask for; the first that the server lists, if not given
    #[arg(long, env = "WARMROUTE_MODEL")]
    model: Option<String>,
    #[command(flatten)]
    load: LoadFlags,
}

pub(crate) async fn run(flags: Flags) -> anyhow::Result<Verdict> {
    let first =
        flags.workers.first().or(flags.url.as_ref()).context("neither --worker nor --url is given")?;
    let server = Server::new(first.clone());
    let model = match flags.model {
        Some(model) => model,
        None => server
            .models()
            .await?
            .into_iter()
            .next()
            .context("the server lists no model; hint: name one with --model")?,
    };
    let ruler = Ruler::of(server, &model).await?;
    let subject = Subject { model, ruler, cache_tokens: None };
    let workloads = flags.load.build(&subject.ruler).await?;
    let report = match (flags.compare, flags.url) {
        (Some(Policies(policies)), _) => {
            let fleet =
                OwnGateways::new(&flags.workers, SocketAddr::from(([127, 0, 0, 1], 0)), flags.load.seed);
            let plan = subject.plan(&flags.load, workloads, policies, fleet.workers().to_vec());
            compare(&plan, &fleet, Progress::Shown).await?
        }
        (None, Some(url)) => {
            let references = if flags.workers.is_empty() { vec![url.clone()] } else { flags.workers.clone() };
            let references = references.into_iter().map(Server::new).collect();
            let plan = subject.plan(&flags.load, workloads, vec![AS_SERVED.to_owned()], references);
            compare(&plan, &AsServed::new(url, &flags.workers), Progress::Shown).await?
        }
        (None, None) => unreachable!("clap asks for one of the group"),
    };
    conclude(&report, flags.load.json)
}

/// What is measured, as far as the load need know.
pub(crate) struct Subject {
    pub(crate) model: String,
    pub(crate) ruler: Ruler,
    pub(crate) cache_tokens: Option<u32>,
}

impl Subject {
    /// The experiment on this subject.
    pub(crate) fn plan(
        &self,
        load: &LoadFlags,
        workloads: Vec<Workload>,
        policies: Vec<String>,
        references: Vec<Server>,
    ) -> Plan {
        Plan {
            model: self.model.clone(),
            ruler: self.ruler.clone(),
            references,
            workloads,
            policies,
            seed: load.seed,
            clients: load.concurrency,
            max_tokens: load.max_tokens,
            timeout: load.timeout(),
            block_tokens: BLOCK_TOKENS,
            cache_tokens: self.cache_tokens,
        }
    }
}

/// Prints the report, and judges it.
pub(crate) fn conclude(report: &Report, json: bool) -> anyhow::Result<Verdict> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{}", table::render(report));
    }
    if report.is_clean() {
        return Ok(Verdict::Well);
    }
    eprintln!(
        "error: not every request was answered with the uncached answer; hint: the last column of the tables shows where"
    );
    Ok(Verdict::Unwell)
}
