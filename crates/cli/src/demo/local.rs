//! The demo's fleet: workers that share one model's weights, on neighbouring ports of this machine.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, bail};
use warmroute_kv::Tokens;
use warmroute_lab::client::BaseUrl;
use warmroute_worker::model::{LoadedModel, ModelSource};
use warmroute_worker::{RunningWorker, WorkerConfig, WorkerModel};

/// How many workers the demo has.
pub(super) const WORKERS: u16 = 3;

/// Where gateway and workers listen: neighbours from `base` on, or wherever there is room if that is 0.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    base: u16,
}

impl Ports {
    /// Checks that all of the ports are free, so that a conflict shows before any work is done.
    pub(super) fn claim(base: u16) -> anyhow::Result<Self> {
        let ports = Self { base };
        if base > u16::MAX - WORKERS {
            bail!(
                "port {base} leaves no room for {WORKERS} workers above it; hint: choose a lower --port-base"
            );
        }
        for place in 0..=WORKERS {
            let address = ports.at(place);
            TcpListener::bind(address).with_context(|| {
                let other = if base < 20_000 { base.saturating_add(1000) } else { 8000 };
                format!(
                    "port {} cannot be used; hint: stop what listens there, or choose others with --port-base {other}, \
                     or --port-base 0 for any that are free",
                    address.port()
                )
            })?;
        }
        Ok(ports)
    }

    /// The gateway's address.
    pub(super) fn gateway(self) -> SocketAddr {
        self.at(0)
    }

    fn at(self, place: u16) -> SocketAddr {
        let port = if self.base == 0 { 0 } else { self.base + place };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }
}

/// Reads the model once for all workers.
pub(super) async fn load(source: ModelSource) -> anyhow::Result<Arc<LoadedModel>> {
    let loaded = tokio::task::spawn_blocking(move || warmroute_worker::model::load(&source)).await;
    Ok(Arc::new(loaded.context("the model's loader panicked")??))
}

/// The running workers; dropping them kills them.
pub(super) struct Workers(Vec<RunningWorker>);

impl Workers {
    /// Starts all of them with a cache of this size each.
    pub(super) async fn start(model: &Arc<LoadedModel>, cache: Tokens, ports: Ports) -> anyhow::Result<Self> {
        let mut workers = Vec::new();
        for place in 1..=WORKERS {
            workers.push(worker(model, cache, ports.at(place)).await?);
        }
        Ok(Self(workers))
    }

    /// One worker on any port, for measuring prompts before it is known how large the caches must be.
    pub(super) async fn scout(model: &Arc<LoadedModel>) -> anyhow::Result<Self> {
        let anywhere = Ports { base: 0 };
        Ok(Self(vec![worker(model, model.context, anywhere.gateway()).await?]))
    }

    /// Where they are.
    pub(super) fn urls(&self) -> Vec<BaseUrl> {
        let url = |worker: &RunningWorker| format!("http://{}", worker.address());
        self.0.iter().map(|worker| url(worker).parse().expect("an address makes a URL")).collect()
    }

    /// Lets running requests end, and stops.
    pub(super) async fn stop(self) {
        for worker in self.0 {
            worker.shutdown().await;
        }
    }
}

async fn worker(
    model: &Arc<LoadedModel>,
    cache: Tokens,
    listen: SocketAddr,
) -> anyhow::Result<RunningWorker> {
    let model = WorkerModel::Loaded(Arc::clone(model));
    let config = WorkerConfig { listen, model, kv_cache_tokens: cache, ..WorkerConfig::default() };
    Ok(warmroute_worker::start(config).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Ports::claim(port).err().unwrap().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--port-base"), "{error}");
        assert!(Ports::claim(u16::MAX).err().unwrap().to_string().contains("hint:"));
        assert!(Ports::claim(0).is_ok());
    }
}
