//! A fleet of our own workers that publish their KV events: how often the gateway predicts what they then report cached.
//!
//! With many requests at once an instant worker outruns its own events: a prompt is read and answered before the gateway hears of its blocks,
//! and how often depends on the machine. What must hold is that nothing of it stays: once everything was heard, predictions are exact again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::timeout;
use warmroute_gateway::{GatewayConfig, RunningGateway};
use warmroute_kv::Tokens;
use warmroute_worker::emulated::{EmulatedConfig, RunningEmulator, start};
use warmroute_worker::engine::KvBatch;
use warmroute_worker::publish::KvPublishing;

/// Nothing here takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);
const WORKERS: usize = 2;
const REQUESTS: usize = 600;

type Http = Client<HttpConnector, Full<Bytes>>;

/// In blocks; all prompts below need several times the smaller one.
const SMALL: u32 = 256;
const LARGE: u32 = 1 << 16;

async fn worker(blocks: u32) -> RunningEmulator {
    let port = || "tcp://127.0.0.1:0".parse().expect("an address");
    let publishing = KvPublishing { replay: Some(port()), ..KvPublishing::at(port()) };
    let config = EmulatedConfig {
        kv_events: Some(publishing),
        kv_cache_tokens: Tokens(16 * blocks),
        ..EmulatedConfig::default()
    };
    start(config).await.expect("a worker starts")
}

fn settings(workers: &[RunningEmulator]) -> GatewayConfig {
    let mut text =
        "listen = \"127.0.0.1:0\"\n[[models]]\nname = \"emulated\"\ntokenizer = \"worker\"\n".to_owned();
    for worker in workers {
        let endpoints = worker.kv_endpoints().expect("it publishes");
        let replay = endpoints.replay.as_deref().expect("it replays");
        text += &format!(
            "[[workers]]\nurl = \"http://{}\"\nkv_events = \"{}\"\nkv_replay = \"{replay}\"\n",
            worker.address(),
            endpoints.events
        );
    }
    GatewayConfig::from_toml(&text).expect("these are settings")
}

/// Conversations that grow and share beginnings; predicted and reported cached tokens of one turn.
async fn ask(http: &Http, url: &str, number: usize) -> (u64, u64) {
    let (user, turn) = (number * 7 % 24, number / 24 % 12);
    let system = format!("You are desk {}. ", user % 3).repeat(20);
    let mut messages = vec![serde_json::json!({"role": "system", "content": system})];
    for turn in 0..=turn {
        let content = format!("user {user} asks for the {turn}th time ").repeat(6);
        messages.push(serde_json::json!({"role": "user", "content": content}));
    }
    let body = serde_json::json!({"model": "emulated", "messages": messages, "max_tokens": 8}).to_string();
    let request =
        http::Request::post(format!("{url}/v1/chat/completions")).body(Full::new(Bytes::from(body)));
    let response = http.request(request.expect("a request")).await.expect("an answer");
    let predicted = response.headers()["x-warmroute-overlap-tokens"].to_str().expect("a number");
    let predicted = predicted.parse().expect("a number");
    let answer = response.into_body().collect().await.expect("all of it").to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    let cached = &answer["usage"]["prompt_tokens_details"]["cached_tokens"];
    (predicted, cached.as_u64().unwrap_or_else(|| panic!("{answer}")))
}

async fn get(http: &Http, url: &str) -> String {
    let response = http.get(url.parse().expect("a URL")).await.expect("an answer");
    String::from_utf8_lossy(&response.into_body().collect().await.expect("all of it").to_bytes()).into_owned()
}

/// What a worker has published so far.
struct Published {
    batches: broadcast::Receiver<Arc<KvBatch>>,
    count: u64,
}

impl Published {
    fn by(worker: &RunningEmulator) -> Self {
        Self { batches: worker.kv_batches(), count: 0 }
    }

    fn count(&mut self) -> u64 {
        while let Ok(batch) = self.batches.try_recv() {
            self.count = batch.sequence + 1;
        }
        self.count
    }
}

/// Waits until the gateway has heard all that was published.
async fn all_heard(http: &Http, url: &str, published: &mut [Published]) {
    let total: u64 = published.iter_mut().map(Published::count).sum();
    let heard = async || {
        let metrics = get(http, &format!("{url}/metrics")).await;
        let batches =
            metrics.lines().filter(|line| line.contains("kv_events{") && line.contains("\"batches\""));
        batches.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    let all = async { while heard().await < total {} };
    timeout(PATIENCE, all).await.expect("everything is heard in time");
}

/// Two workers that are full with `blocks` blocks, and a gateway that believes their events.
struct Bench {
    _workers: Vec<RunningEmulator>,
    published: Vec<Published>,
    gateway: RunningGateway,
    url: String,
    http: Http,
    /// The next request.
    number: usize,
}

impl Bench {
    async fn with(blocks: u32) -> Self {
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            workers.push(worker(blocks).await);
        }
        let published = workers.iter().map(Published::by).collect();
        let gateway = warmroute_gateway::start(settings(&workers)).await.expect("the gateway starts");
        gateway.workers_up(WORKERS).await;
        let url = format!("http://{}", gateway.address());
        let http = Client::builder(TokioExecutor::new()).build_http();
        let mut bench = Self { _workers: workers, published, gateway, url, http, number: 0 };
        bench.all_speak().await;
        bench
    }

    /// Asks one after another until the events of all workers are believed.
    async fn all_speak(&mut self) {
        timeout(PATIENCE, async {
            while self.speakers().await < WORKERS {
                self.in_turn(1).await;
            }
        })
        .await
        .expect("they are believed in time");
    }

    /// Workers that speak for themselves.
    async fn speakers(&self) -> usize {
        let metrics = get(&self.http, &format!("{}/metrics", self.url)).await;
        metrics.lines().filter(|line| line.contains("cache_exact{") && line.ends_with(" 1")).count()
    }

    /// Predicted and reported of the next requests, one after another, each after the events of the one before.
    async fn in_turn(&mut self, requests: usize) -> Vec<(u64, u64)> {
        let mut seen = Vec::new();
        for number in self.number..self.number + requests {
            all_heard(&self.http, &self.url, &mut self.published).await;
            seen.push(ask(&self.http, &self.url, number).await);
        }
        self.number += requests;
        seen
    }

    /// The same for many at a time that wait for no events.
    async fn together(&mut self, requests: usize, at_once: usize) -> Vec<(u64, u64)> {
        let (mut asking, mut seen) = (JoinSet::new(), Vec::new());
        for number in self.number..self.number + requests {
            let (http, url) = (self.http.clone(), self.url.clone());
            asking.spawn(async move { ask(&http, &url, number).await });
            if asking.len() == at_once {
                seen.push(asking.join_next().await.expect("somebody asks").expect("it ends"));
            }
        }
        seen.extend(asking.join_all().await);
        self.number += requests;
        seen
    }
}

/// All of these were predicted, and some were cached.
fn exact(seen: &[(u64, u64)]) {
    let wrong: Vec<_> = seen.iter().filter(|(predicted, reported)| predicted != reported).collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), seen.len());
    assert!(seen.iter().any(|(_, reported)| *reported > 0), "something was cached");
}

/// The share of these that was predicted.
fn share(seen: &[(u64, u64)]) -> f64 {
    let equal = seen.iter().filter(|(predicted, reported)| predicted == reported).count();
    let tokens = |side: fn(&(u64, u64)) -> u64| seen.iter().map(side).sum::<u64>();
    eprintln!(
        "{equal} of {} exact; {} tokens predicted, {} reported",
        seen.len(),
        tokens(|one| one.0),
        tokens(|one| one.1)
    );
    equal as f64 / seen.len() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_after_another_predictions_are_what_is_reported_under_eviction() {
    let mut bench = Bench::with(SMALL).await;
    exact(&bench.in_turn(REQUESTS).await);
    bench.gateway.shutdown().await;
}

/// Prompts are read and told of in another order than they were decided in; nothing is evicted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_many_at_once_predictions_are_what_is_reported() {
    let mut bench = Bench::with(LARGE).await;
    assert!(share(&bench.together(REQUESTS, 16).await) > 0.6);
    bench.all_speak().await;
    exact(&bench.in_turn(REQUESTS / 4).await);
    bench.gateway.shutdown().await;
}

/// Workers that are full evict, while a request is on its way to them, what it was sent there for; so much of it that their events may be
/// taken to mislead, until they are right again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_many_at_once_in_caches_that_are_full_predictions_are_what_is_reported() {
    let mut bench = Bench::with(SMALL).await;
    // How many depends on how busy the machine is: no bound on it would be one.
    share(&bench.together(REQUESTS, 16).await);
    bench.all_speak().await;
    exact(&bench.in_turn(REQUESTS / 4).await);
    bench.gateway.shutdown().await;
}
