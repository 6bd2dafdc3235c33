//! Every proxy that is compared: one list, from which runs, tables and help follow.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::connection::Connection;
use crate::install::Source;
use crate::launch::{self, Launch};
use crate::place::Bench;
use crate::process::Process;
use crate::requests;
use crate::standins::free_ports;

/// One proxy in one mode.
#[derive(Debug)]
pub struct Contender {
    pub name: &'static str,
    pub source: Source,
    /// Part of the comparison of costs, of that of routing, or of both.
    pub costs: bool,
    pub routes: bool,
    pub launch: fn(&Launch) -> anyhow::Result<Command>,
}

const HAPROXY: Source = Source::Debian("haproxy", "haproxy");
const NGINX: Source = Source::Debian("nginx-light", "nginx");
const SGLANG: Source = Source::Pypi("sglang-router==0.3.2", "sglang-router");
const VLLM: Source = Source::Pypi("vllm-router==0.1.17", "vllm-router");
const SMG: Source = Source::Pypi("smg==1.13.0", "smg");

/// All of them. The first is what the others' costs are ratios to.
#[rustfmt::skip]
pub const CONTENDERS: &[Contender] = &[
    Contender { name: "haproxy", source: HAPROXY, costs: true, routes: true, launch: launch::haproxy },
    Contender { name: "nginx", source: NGINX, costs: true, routes: false, launch: launch::nginx },
    Contender { name: "warmroute", source: Source::Ours, costs: true, routes: true, launch: |it| Ok(launch::warmroute(it, &it.bench.policy)) },
    Contender { name: "warmroute bounded_hash", source: Source::Ours, costs: false, routes: true, launch: |it| Ok(launch::warmroute(it, "bounded_hash")) },
    Contender { name: "warmroute round_robin", source: Source::Ours, costs: false, routes: true, launch: |it| Ok(launch::warmroute(it, "round_robin")) },
    Contender { name: "sglang-router", source: SGLANG, costs: true, routes: true, launch: |it| Ok(launch::launcher(it, "cache_aware")) },
    Contender { name: "smg", source: SMG, costs: true, routes: true, launch: |it| Ok(launch::launcher(it, "cache_aware")) },
    Contender { name: "smg prefix_hash", source: SMG, costs: false, routes: true, launch: |it| Ok(launch::launcher(it, "prefix_hash")) },
    Contender { name: "vllm-router", source: VLLM, costs: true, routes: true, launch: |it| Ok(launch::vllm(it, "cache_aware")) },
    Contender { name: "vllm-router round_robin", source: VLLM, costs: true, routes: false, launch: |it| Ok(launch::vllm(it, "round_robin")) },
];

/// A contender that runs before a fleet.
#[derive(Debug)]
pub struct Proxy {
    pub name: &'static str,
    pub port: u16,
    pub process: Process,
}

impl Contender {
    /// Starts it before these workers and waits until a request has come through.
    pub async fn start(&self, bench: &Bench, workers: &[u16]) -> anyhow::Result<Proxy> {
        let ports = free_ports(2)?;
        let program = self.source.program(bench)?;
        let it = Launch { bench, program, port: ports[0], metrics_port: ports[1], workers };
        let process = Process::start(&self.name.replace(' ', "-"), (self.launch)(&it)?, &bench.scratch)?;
        let mut proxy = Proxy { name: self.name, port: ports[0], process };
        proxy.until_ready(workers.len()).await?;
        Ok(proxy)
    }
}

impl Proxy {
    /// Some routers take seconds to meet all their workers: as many answers in a row as there are workers is enough.
    async fn until_ready(&mut self, workers: usize) -> anyhow::Result<()> {
        let patience = Instant::now() + Duration::from_secs(60);
        let mut in_a_row = 0;
        while in_a_row < workers {
            self.process.must_run()?;
            in_a_row = if answers(self.port).await { in_a_row + 1 } else { 0 };
            if in_a_row == 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            if Instant::now() > patience {
                bail!("{} answers nothing within 60 s; hint: its log is in the scratch directory", self.name);
            }
        }
        Ok(())
    }
}

async fn answers(port: u16) -> bool {
    let ask = async { Connection::open(port).await?.ask(&requests::hello()).await };
    matches!(tokio::time::timeout(Duration::from_secs(5), ask).await, Ok(Ok(answer)) if answer.status == 200)
}
