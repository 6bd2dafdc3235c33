//! Gateways for tests: quick probes, and everything else as shipped unless the test says otherwise.

use std::time::Duration;

use tokio::time::timeout;
use warmroute_gateway::{GatewayConfig, Millis, RunningGateway, start};

use crate::worker::Worker;

/// Only a hang takes so long.
const LIMIT: Duration = Duration::from_secs(30);

/// A gateway in front of these workers, all of them up.
pub(crate) async fn gateway(workers: &[&Worker]) -> RunningGateway {
    gateway_with(workers, |_| {}).await
}

/// The same with other settings.
pub(crate) async fn gateway_with(
    workers: &[&Worker],
    adjust: impl FnOnce(&mut GatewayConfig),
) -> RunningGateway {
    let mut config = settings(&workers.iter().map(|worker| worker.url()).collect::<Vec<_>>());
    adjust(&mut config);
    let gateway = start(config).await.unwrap();
    within(gateway.workers_up(workers.len())).await;
    gateway
}

/// Settings for tests: requests go around in turn, and probes keep out of the way.
pub(crate) fn settings(urls: &[String]) -> GatewayConfig {
    let mut config = GatewayConfig {
        workers: urls.iter().map(|url| url.parse().unwrap()).collect(),
        probe_interval_ms: Millis(3_600_000),
        ..GatewayConfig::default()
    };
    config.set("listen", "127.0.0.1:0").unwrap();
    config.set("policy", "round_robin").unwrap();
    config
}

/// Fails instead of hanging.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("it took too long: this is a hang")
}

/// Waits until something is so that nobody tells of.
pub(crate) async fn until(so: impl Fn() -> bool) {
    within(async {
        while !so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
