//! Fleets as the lab sees them: gateways started here in front of workers anywhere, or one URL that is taken as it is.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use warmroute_gateway::{GatewayConfig, RunningGateway};
use warmroute_lab::Fleet;
use warmroute_lab::client::{BaseUrl, Server};
use warmroute_lab::compare::FleetError;

/// Longest wait until a new gateway has found all workers healthy; probes come every second.
const WORKERS_UP: Duration = Duration::from_secs(30);

/// Workers, with a gateway in this process for each run.
pub(crate) struct OwnGateways {
    workers: Vec<Server>,
    listen: SocketAddr,
    seed: u64,
}

impl OwnGateways {
    /// Gateways at `listen`, one after another.
    pub(crate) fn new(workers: &[BaseUrl], listen: SocketAddr, seed: u64) -> Self {
        Self { workers: workers.iter().cloned().map(Server::new).collect(), listen, seed }
    }

    /// Starts a gateway with this policy and waits until it routes to every worker.
    pub(crate) async fn start(&self, policy: &str) -> anyhow::Result<RunningGateway> {
        let mut config = GatewayConfig { listen: self.listen, seed: self.seed, ..GatewayConfig::default() };
        config.set("policy", policy)?;
        for worker in &self.workers {
            config.workers.push(worker.base().to_string().parse()?);
        }
        let count = config.workers.len();
        let gateway = warmroute_gateway::start(config).await?;
        let up = tokio::time::timeout(WORKERS_UP, gateway.workers_up(count)).await;
        up.with_context(|| format!("not all {count} workers are healthy; hint: ask each for /health"))?;
        Ok(gateway)
    }
}

impl Fleet for OwnGateways {
    type Gateway = RunningGateway;

    fn workers(&self) -> &[Server] {
        &self.workers
    }

    async fn gateway(&self, policy: &str) -> Result<RunningGateway, FleetError> {
        Ok(self.start(policy).await?)
    }

    fn url(&self, gateway: &RunningGateway) -> BaseUrl {
        format!("http://{}", gateway.address()).parse().expect("an address makes a URL")
    }

    async fn stop(&self, gateway: RunningGateway) {
        gateway.shutdown().await;
    }
}

/// A server that somebody else runs, with the policy it has.
pub(crate) struct AsServed {
    url: BaseUrl,
    workers: Vec<Server>,
}

impl AsServed {
    /// The server at `url`; caches are emptied on `workers`, if any are known.
    pub(crate) fn new(url: BaseUrl, workers: &[BaseUrl]) -> Self {
        Self { url, workers: workers.iter().cloned().map(Server::new).collect() }
    }
}

impl Fleet for AsServed {
    type Gateway = ();

    fn workers(&self) -> &[Server] {
        &self.workers
    }

    async fn gateway(&self, _: &str) -> Result<(), FleetError> {
        Ok(())
    }

    fn url(&self, (): &()) -> BaseUrl {
        self.url.clone()
    }

    async fn stop(&self, (): ()) {}
}
