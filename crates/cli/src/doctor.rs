//! `warmroute doctor`: examines a fleet and prints what was found, with what mends it.

use std::path::PathBuf;

use clap::Args;
use warmroute_gateway::doctor::{Finding, Outcome, examine};
use warmroute_gateway::{GatewayConfig, WorkerConfig};

use crate::Verdict;

/// Examine a fleet before it goes live: what would make routing blind or wrong, and what mends it
#[derive(Args)]
#[command(after_help = MORE)]
pub(crate) struct Flags {
    /// The gateway's TOML file; its workers are examined
    #[arg(long, value_name = "FILE", env = "WARMROUTE_CONFIG")]
    config: Option<PathBuf>,
    /// A worker to examine instead of those of the file; repeat or separate by commas
    #[arg(long = "worker", value_name = "URL", env = "WARMROUTE_WORKERS", value_delimiter = ',')]
    workers: Vec<WorkerConfig>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

const MORE: &str = "\
Every worker is sent one prompt of a few hundred tokens twice; nothing is changed. Exit code 0 if nothing is wrong, 1 if something
is, 2 for wrong usage. What is looked at: docs/doctor.md.";

pub(crate) async fn run(flags: Flags) -> anyhow::Result<Verdict> {
    let mut config = match &flags.config {
        None => GatewayConfig::default(),
        Some(path) => GatewayConfig::from_file(path)?,
    };
    if !flags.workers.is_empty() {
        config.workers = flags.workers;
    }
    let findings = examine(&config).await?;
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "findings": findings }))?);
    } else {
        print!("{}", told(&findings));
    }
    let failed = findings.iter().any(|finding| finding.outcome == Outcome::Failed);
    Ok(if failed { Verdict::Unwell } else { Verdict::Well })
}

/// A paragraph for each worker, a line for each finding, and its fix below it.
fn told(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut last = "";
    for finding in findings {
        if finding.worker != last {
            text += &format!("{}\n", finding.worker);
            last = &finding.worker;
        }
        let mark = match finding.outcome {
            Outcome::Ok => "ok    ",
            Outcome::Note => "note  ",
            Outcome::Failed => "FAILED",
        };
        text += &format!("  {mark}  {:12}  {}\n", finding.check, finding.seen);
        if let Some(fix) = &finding.fix {
            text += &format!("{:24}fix: {fix}\n", "");
        }
    }
    let count = |outcome| findings.iter().filter(|finding| finding.outcome == outcome).count();
    let (ok, notes, failed) = (count(Outcome::Ok), count(Outcome::Note), count(Outcome::Failed));
    text + &format!("{ok} ok, {notes} notes, {failed} failed\n")
}
