//! The gateway under hostile input over real sockets: what is answered with which status, and what exactly a worker gets of it.
//!
//! Each case is the bytes that a client sends. What hyper refuses (heads that are no HTTP) has its status and no body; what the gateway
//! refuses has OpenAI's shape. Whatever came before, the next client is served: that is asked after every case.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod bodies;
mod client;
mod framing;
mod heads;
mod http2;
mod refusals;
mod slow;
mod targets;
mod worker;

use std::time::Duration;

use tokio::time::timeout;
use warmroute_gateway::{GatewayConfig, Millis, RunningGateway, start};

use self::client::Client;
use self::worker::Worker;

/// Only a hang takes so long.
const LIMIT: Duration = Duration::from_secs(30);

/// Fails instead of hanging.
async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("it took too long: this is a hang")
}

/// A gateway in front of one worker.
async fn gateway(worker: &Worker, adjust: impl FnOnce(&mut GatewayConfig)) -> RunningGateway {
    let mut config = GatewayConfig {
        workers: vec![worker.url().parse().unwrap()],
        probe_interval_ms: Millis(3_600_000),
        ..GatewayConfig::default()
    };
    config.set("listen", "127.0.0.1:0").unwrap();
    adjust(&mut config);
    let gateway = start(config).await.unwrap();
    within(gateway.workers_up(1)).await;
    gateway
}

/// A short completion request of this name, as a client sends it.
fn plain(name: &str) -> String {
    let body = r#"{"model":"m","prompt":"Once"}"#;
    format!(
        "POST /v1/completions HTTP/1.1\r\nx-request-id: {name}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The gateway serves the next client, and the worker hears just that.
async fn still_serves(gateway: &RunningGateway, worker: &Worker) {
    let mut client = Client::connect(gateway).await;
    client.send(plain("next")).await;
    assert_eq!(client.answer().await.expect("an answer").status, 200);
    let seen = worker.take();
    assert!(seen.len() == 1 && seen[0].contains("x-request-id: next\r\n"), "{seen:#?}");
    assert_eq!(gateway.in_flight(), 0);
}
