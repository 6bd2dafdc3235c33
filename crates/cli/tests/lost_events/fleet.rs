//! Emulated workers that publish, each over a wire that can be harmed, and gateways that listen to them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;
use warmroute_gateway::{GatewayConfig, RunningGateway};
use warmroute_kv::Tokens;
use warmroute_worker::emulated::{EmulatedConfig, RunningEmulator, start};
use warmroute_worker::publish::{KvEndpoints, KvPublishing};

use super::load::{body, different, get, http, post};
use super::relay::Relay;

/// Nothing takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);
const ANY_PORT: &str = "tcp://127.0.0.1:0";
/// So small that the conversations evict each other.
const CACHE: Tokens = Tokens(16 * 256);

/// A worker and the wire from its publisher.
pub(crate) struct Member {
    /// `None` while it is down.
    worker: Option<RunningEmulator>,
    address: SocketAddr,
    endpoints: KvEndpoints,
    pub(crate) relay: Option<Relay>,
    wire: String,
    seed: u64,
}

impl Member {
    pub(crate) async fn start(seed: u64) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let worker = worker(any, (ANY_PORT, ANY_PORT)).await.expect("ports of the system's choice are free");
        let endpoints = worker.kv_endpoints().unwrap().clone();
        let relay = Relay::start(&endpoints.events, ANY_PORT, seed)
            .await
            .expect("a port of the system's choice is free");
        let (address, wire) = (worker.address(), relay.endpoint.clone());
        Self { worker: Some(worker), address, endpoints, relay: Some(relay), wire, seed }
    }

    /// As the gateway calls it.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    /// As a crash does: with its connections and its cache.
    pub(crate) fn kill(&mut self) {
        self.relay = None;
        self.worker = None;
    }

    /// A new process at the same addresses.
    pub(crate) async fn restart(&mut self) {
        let replay = self.endpoints.replay.clone().unwrap();
        let again = async {
            // The old sockets may take a moment to close.
            loop {
                match worker(self.address, (&self.endpoints.events, &replay)).await {
                    Some(worker) => return worker,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        self.worker = Some(timeout(PATIENCE, again).await.expect("its addresses are free in time"));
        self.connect().await;
    }

    /// Cuts the wire.
    pub(crate) fn disconnect(&mut self) {
        self.relay = None;
    }

    /// A new wire at the old place.
    pub(crate) async fn connect(&mut self) {
        let own = self.publisher().to_owned();
        self.connect_to(&own).await;
    }

    /// The same, from this publisher.
    pub(crate) async fn connect_to(&mut self, publisher: &str) {
        self.disconnect();
        self.seed += 1;
        let again = async {
            loop {
                match Relay::start(publisher, &self.wire, self.seed).await {
                    Some(relay) => return relay,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        self.relay = Some(timeout(PATIENCE, again).await.expect("the place is free in time"));
    }

    /// Where its engine publishes.
    pub(crate) fn publisher(&self) -> &str {
        &self.endpoints.events
    }

    /// Has it store something, so that its publisher says something and what was lost before can be seen to be missing.
    async fn speak(&self, number: usize) {
        let prompt = format!("{number} is the number of this prompt, which nobody else sends. ").repeat(4);
        let body = serde_json::json!({"model": "emulated", "prompt": prompt, "max_tokens": 1}).to_string();
        let (status, text) = post(&http(), &format!("http://{}/v1/completions", self.address), body).await;
        assert_eq!(status, 200, "{text}");
    }
}

async fn worker(address: SocketAddr, (events, replay): (&str, &str)) -> Option<RunningEmulator> {
    let publishing =
        KvPublishing { replay: Some(replay.parse().unwrap()), ..KvPublishing::at(events.parse().unwrap()) };
    let config = EmulatedConfig {
        listen: address,
        kv_events: Some(publishing),
        kv_cache_tokens: CACHE,
        ..EmulatedConfig::default()
    };
    start(config).await.ok()
}

/// How a gateway hears the engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// Over the wires, with replays from the engines.
    Wires,
    /// Over the wires, without replays.
    LiveOnly,
    /// From the engines.
    Straight,
}

/// A gateway in exact mode, and its two addresses.
pub(crate) struct Watcher {
    gateway: RunningGateway,
    pub(crate) url: String,
    admin: String,
}

impl Watcher {
    /// Listens in this way.
    pub(crate) async fn start(fleet: &[Member], hearing: Hearing) -> Self {
        let mut text = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nprobe_interval_ms = 200\n\
                        [[models]]\nname = \"emulated\"\ntokenizer = \"worker\"\n"
            .to_owned();
        for member in fleet {
            let events = if hearing == Hearing::Straight { member.publisher() } else { &member.wire };
            text += &format!("[[workers]]\nurl = \"http://{}\"\nkv_events = \"{events}\"\n", member.name());
            if hearing != Hearing::LiveOnly {
                text += &format!("kv_replay = \"{}\"\n", member.endpoints.replay.as_ref().unwrap());
            }
        }
        let gateway = warmroute_gateway::start(GatewayConfig::from_toml(&text).unwrap()).await.unwrap();
        gateway.workers_up(fleet.len()).await;
        let url = format!("http://{}", gateway.address());
        let admin = format!("http://{}", gateway.admin_address().unwrap());
        Self { gateway, url, admin }
    }

    pub(crate) async fn end(self) {
        self.gateway.shutdown().await;
    }

    pub(crate) async fn workers_up(&self, count: usize) {
        self.gateway.workers_up(count).await;
    }

    pub(crate) async fn workers_down_to(&self, count: usize) {
        self.gateway.workers_down_to(count).await;
    }

    /// A metric of a worker, where it is shown; the label is the one beside its name.
    pub(crate) async fn metric(&self, member: &Member, metric: &str, label: &str) -> Option<f64> {
        let page = get(&http(), &format!("{}/metrics", self.url)).await;
        let own = format!("worker=\"{}\"", member.name());
        let lines = page
            .lines()
            .filter(|line| line.starts_with(&format!("warmroute_worker_{metric}{{")) && line.contains(&own));
        lines.filter(|line| line.contains(label)).find_map(|line| line.rsplit(' ').next()?.parse().ok())
    }

    /// Waits until a metric is as wished.
    pub(crate) async fn shows(
        &self,
        member: &Member,
        (metric, label): (&str, &str),
        wish: impl Fn(f64) -> bool,
    ) {
        let shown = async { while !self.metric(member, metric, label).await.is_some_and(&wish) {} };
        if timeout(PATIENCE, shown).await.is_err() {
            panic!("{metric} {label} of {}: {:?}", member.name(), self.metric(member, metric, label).await);
        }
    }

    /// Of every request and worker the tokens that the index says the worker holds, and of every worker its blocks.
    async fn indexed(&self, fleet: &[Member]) -> BTreeMap<String, Vec<u64>> {
        let (http, mut known) = (http(), BTreeMap::<String, Vec<u64>>::new());
        for number in 0..different() {
            let (status, text) = post(&http, &format!("{}/explain", self.admin), body(number)).await;
            assert_eq!(status, 200, "{text}");
            let told: Value = serde_json::from_str(&text).unwrap();
            for one in told["candidates"].as_array().unwrap() {
                let tokens = one["overlap_tokens"].as_u64().unwrap();
                known.entry(one["worker"].as_str().unwrap().to_owned()).or_default().push(tokens);
            }
        }
        for member in fleet {
            let blocks = self.metric(member, "kv_blocks", "").await.unwrap();
            known.get_mut(&member.name()).unwrap().push(blocks as u64);
        }
        known
    }

    /// Waits until the index is what a gateway that has just started makes of the engines' replays.
    pub(crate) async fn equals_a_fresh_replay(&self, fleet: &[Member]) {
        for (number, member) in fleet.iter().enumerate() {
            member.speak(number).await;
        }
        let fresh = Watcher::start(fleet, Hearing::Straight).await;
        for watcher in [self, &fresh] {
            for member in fleet {
                watcher.shows(member, ("cache_exact", ""), |exact| exact == 1.0).await;
            }
        }
        let equal = async {
            for number in fleet.len().. {
                let (own, new) = (self.indexed(fleet).await, fresh.indexed(fleet).await);
                if own == new {
                    return own;
                }
                // What a replay that failed owes is asked for when something is heard.
                fleet[number % fleet.len()].speak(number).await;
            }
            unreachable!("there are numbers enough")
        };
        let Ok(known) = timeout(PATIENCE, equal).await else {
            panic!("{:?}\nis not\n{:?}", self.indexed(fleet).await, fresh.indexed(fleet).await);
        };
        for (worker, tokens) in known {
            assert!(
                tokens.iter().any(|tokens| *tokens > 0),
                "{worker} holds nothing: the test shows nothing"
            );
        }
        fresh.end().await;
    }
}
