//! Two gateways in one process before the same workers, which publish nothing: conversations whose turns come to one gateway and the other.
//! What workers report cached is compared with one gateway, and with two that do not hear of each other.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::{interval, timeout};
use warmroute_gateway::{GatewayConfig, Origins, RunningGateway, Sockets, start_on};
use warmroute_kv::Tokens;
use warmroute_worker::emulated::{EmulatedConfig, RunningEmulator, start};

/// Nothing here takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);
const WORKERS: usize = 4;
const CONVERSATIONS: usize = 24;
const TURNS: usize = 8;

type Http = Client<HttpConnector, Full<Bytes>>;

/// Workers, gateways before them, and a client.
struct Scene {
    workers: Vec<RunningEmulator>,
    gateways: Vec<RunningGateway>,
    http: Http,
}

fn socket() -> TcpListener {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port")
}

impl Scene {
    /// So many gateways, which hear of each other or do not. All have the same list of peers, their own address in it.
    async fn new(gateways: usize, hear: bool) -> Self {
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            let config = EmulatedConfig { kv_cache_tokens: Tokens(1 << 17), ..EmulatedConfig::default() };
            workers.push(start(config).await.expect("a worker starts"));
        }
        let operators: Vec<TcpListener> = (0..gateways).map(|_| socket()).collect();
        let address = |socket: &TcpListener| socket.local_addr().expect("it is bound");
        let peers: Vec<String> =
            operators.iter().map(|socket| format!("http://{}", address(socket))).collect();
        let mut all = Vec::new();
        for (number, operators) in operators.into_iter().enumerate() {
            let url = |worker: &RunningEmulator| format!("http://{}", worker.address());
            let mut urls: Vec<_> = workers.iter().map(|worker| url(worker).parse().expect("a URL")).collect();
            // So that gateways number workers otherwise.
            urls.rotate_left(number);
            let mut config = GatewayConfig { workers: urls, ..GatewayConfig::default() };
            config.set("admin_listen", &address(&operators).to_string()).expect("an address");
            if hear {
                config.set("peers", &peers.join(",")).expect("addresses");
            }
            let sockets = Sockets { clients: Some(socket()), operators: Some(operators) };
            let origins = Origins::fixed(&config);
            all.push(start_on(config, origins, sockets).await.expect("a gateway starts"));
        }
        let scene = Self { workers, gateways: all, http: Client::builder(TokioExecutor::new()).build_http() };
        for gateway in &scene.gateways {
            within(gateway.workers_up(WORKERS)).await;
            within(gateway.peers(if hear { gateways - 1 } else { 0 })).await;
        }
        scene
    }

    /// The next turn of a conversation.
    async fn ask(&self, gateway: usize, conversation: usize, turn: usize) {
        let mut messages = Vec::new();
        for turn in 0..=turn {
            let content = format!("user {conversation} asks for the {turn}th time ").repeat(30);
            messages.push(serde_json::json!({"role": "user", "content": content}));
        }
        let body =
            serde_json::json!({"model": "emulated", "messages": messages, "max_tokens": 4}).to_string();
        let url = format!("http://{}/v1/chat/completions", self.gateways[gateway].address());
        let request = http::Request::post(url).body(Full::new(Bytes::from(body))).expect("a request");
        let answer = self.http.request(request).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.expect("all of it");
    }

    async fn get(&self, url: String) -> String {
        let answer = self.http.get(url.parse().expect("a URL")).await.expect("an answer");
        String::from_utf8_lossy(&answer.into_body().collect().await.expect("all of it").to_bytes())
            .into_owned()
    }

    /// Waits until a gateway has heard of so many prompts.
    async fn heard(&self, gateway: usize, prompts: usize) {
        let line = format!("warmroute_peer_prompts_heard_total {prompts}");
        let mut look = interval(Duration::from_millis(10));
        within(async {
            while !self
                .get(format!("http://{}/metrics", self.gateways[gateway].address()))
                .await
                .contains(&line)
            {
                look.tick().await;
            }
        })
        .await;
    }

    /// All turns of all conversations, each at the next gateway; the share of prompt tokens that workers had cached.
    async fn play(&self, hear: bool) -> f64 {
        for turn in 0..TURNS {
            for conversation in 0..CONVERSATIONS {
                self.ask((turn + conversation) % self.gateways.len(), conversation, turn).await;
            }
            if hear {
                let each = (turn + 1) * CONVERSATIONS / self.gateways.len();
                for gateway in 0..self.gateways.len() {
                    self.heard(gateway, each * (self.gateways.len() - 1)).await;
                }
            }
        }
        let counters = || self.workers.iter().map(RunningEmulator::counters);
        let [cached, all] = [
            counters().map(|count| count.cached_tokens).sum::<u64>(),
            counters().map(|count| count.prompt_tokens).sum(),
        ];
        cached as f64 / all as f64
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it took too long: this is a hang")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_that_hear_of_each_other_find_nearly_as_much_cached_as_one() {
    let one = Scene::new(1, false).await.play(false).await;
    let deaf = Scene::new(2, false).await.play(false).await;
    let hearing = Scene::new(2, true).await.play(true).await;
    println!(
        "cached of all prompt tokens: one gateway {one:.4}, two {hearing:.4}, two that do not hear {deaf:.4}"
    );
    assert!(hearing > one - 0.02, "{hearing} of all prompt tokens, {one} with one gateway");
    assert!(
        hearing > deaf + 0.1,
        "{hearing} of all prompt tokens, {deaf} where they do not hear of each other"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_gateway_goes_the_other_goes_on_with_all_that_both_knew() {
    let mut scene = Scene::new(2, true).await;
    let part = async |scene: &Scene| {
        let admin = scene.gateways[0].admin_address().expect("it has one");
        let told: serde_json::Value =
            serde_json::from_str(&scene.get(format!("http://{admin}/peers")).await).expect("JSON");
        told["part"]["of"].as_u64()
    };
    assert_eq!(part(&scene).await, Some(2));
    for conversation in 0..CONVERSATIONS {
        scene.ask(1, conversation, 0).await;
    }
    scene.heard(0, CONVERSATIONS).await;
    scene.gateways.remove(1).shutdown().await;
    within(scene.gateways[0].peers(0)).await;
    assert_eq!(part(&scene).await, Some(1));
    let cached = || scene.workers.iter().map(|worker| worker.counters().cached_tokens).sum::<u64>();
    let before = cached();
    for conversation in 0..CONVERSATIONS {
        scene.ask(0, conversation, 1).await;
    }
    let found = (cached() - before) / CONVERSATIONS as u64;
    // A first turn is some 220 tokens, in blocks of 16.
    assert!(
        found > 200,
        "{found} tokens of each second turn were cached, though another gateway sent the first"
    );
}
