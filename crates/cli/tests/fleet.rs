//! A whole fleet in one process: a gateway before three workers with a real model, and one of them dies under load.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use warmroute_gateway::{GatewayConfig, RunningGateway};
use warmroute_worker::{RunningWorker, WorkerConfig, WorkerModel};

const STREAMS: usize = 200;
/// The worker dies once this many of its streams have begun.
const BEGUN_BEFORE_THE_DEATH: usize = 3;

/// How one request ended, as its client saw it.
#[derive(Debug)]
struct Ending {
    number: usize,
    status: u16,
    worker: String,
    attempts: u32,
    /// Whether the connection gave a clean end.
    clean: bool,
    text: String,
}

impl Ending {
    fn is_whole(&self) -> bool {
        self.clean && self.text.ends_with("data: [DONE]\n\n")
    }

    fn says_worker_lost(&self) -> bool {
        self.text.contains(r#""code":"worker_lost""#)
    }
}

async fn workers(count: usize) -> Vec<RunningWorker> {
    let mut workers: Vec<RunningWorker> = Vec::new();
    for _ in 0..count {
        // The weights are loaded once.
        let model = workers.first().map(|first| WorkerModel::Loaded(first.model()));
        let defaults = WorkerConfig::default();
        let config = WorkerConfig { model: model.unwrap_or(defaults.model), ..WorkerConfig::default() };
        workers.push(warmroute_worker::start(config).await.expect("a worker starts"));
    }
    workers
}

async fn gateway(workers: &[RunningWorker]) -> RunningGateway {
    let urls = workers.iter().map(|worker| format!("http://{}", worker.address()).parse().expect("a URL"));
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = GatewayConfig { listen, workers: urls.collect(), ..GatewayConfig::default() };
    let gateway = warmroute_gateway::start(config).await.expect("the gateway starts");
    gateway.workers_up(workers.len()).await;
    gateway
}

/// One streamed completion; `begun` is told the worker's name as soon as the first byte is here.
async fn stream(
    client: Client<HttpConnector, Full<Bytes>>,
    gateway: SocketAddr,
    number: usize,
    begun: mpsc::UnboundedSender<String>,
) -> Ending {
    // Prompts long enough that reading 200 of them takes a while, each with a beginning of its own, and answers that are under way when the
    // test hears that they have begun, though it may be late.
    let prompt = format!("{number} ") + &"And the king said unto the people of the city. ".repeat(20);
    let body = serde_json::json!({
        "model": "warmroute-tiny", "prompt": prompt, "max_tokens": 80, "ignore_eos": true, "temperature": 0, "stream": true,
    });
    let request = http::Request::post(format!("http://{gateway}/v1/completions"))
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .expect("a request");
    let answer = client.request(request).await.expect("the gateway always answers");
    let header =
        |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().expect("text")).to_owned();
    let mut ending = Ending {
        number,
        status: answer.status().as_u16(),
        worker: header("x-warmroute-worker"),
        attempts: header("x-warmroute-attempts").parse().unwrap_or(0),
        clean: true,
        text: String::new(),
    };
    begun.send(ending.worker.clone()).expect("the test listens");
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            ending.clean = false;
            break;
        };
        ending.text += std::str::from_utf8(frame.data_ref().expect("only data")).expect("UTF-8");
    }
    ending
}

/// Starts all streams, kills the first worker in their midst, and waits for every end.
async fn run(workers: &mut Vec<RunningWorker>, gateway: SocketAddr) -> Vec<Ending> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (begun, mut beginnings) = mpsc::unbounded_channel();
    let mut streams = JoinSet::new();
    for number in 0..STREAMS {
        streams.spawn(stream(client.clone(), gateway, number, begun.clone()));
    }
    drop(begun);
    let victim = workers.remove(0);
    let address = victim.address().to_string();
    let mut begun_there = 0;
    while begun_there < BEGUN_BEFORE_THE_DEATH {
        let worker = beginnings.recv().await.expect("the victim begins some streams before all have begun");
        begun_there += usize::from(worker.contains(&address));
    }
    victim.kill();
    streams.join_all().await
}

/// Every request without a first byte is answered in full elsewhere; the others are told; nothing hangs or is left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_costs_no_request_that_had_no_byte_yet() {
    let mut workers = workers(3).await;
    let victim = workers[0].address().to_string();
    let gateway = gateway(&workers).await;
    // A hang is what this test is about: it must end as a failure.
    let all = tokio::time::timeout(Duration::from_secs(120), run(&mut workers, gateway.address()));
    let endings = all.await.expect("no request hangs");

    assert_eq!(endings.len(), STREAMS);
    for ending in &endings {
        assert_eq!(ending.status, 200, "{ending:?}");
        let told = ending.says_worker_lost() && !ending.clean && ending.worker.contains(&victim);
        assert!(
            ending.is_whole() != told,
            "request {} ended neither whole nor with an error event: {ending:?}",
            ending.number
        );
    }
    let cut = endings.iter().filter(|ending| !ending.is_whole()).count();
    let retried = endings.iter().filter(|ending| ending.attempts > 1).count();
    assert!(cut >= 1, "the victim had begun streams");
    assert!(retried >= 1, "and had requests that waited for their first byte");
    println!(
        "{STREAMS} streams: {cut} cut with an error event, {retried} retried elsewhere, the rest untouched"
    );

    assert_eq!(gateway.in_flight(), 0, "in the gateway");
    for worker in &workers {
        worker.idle().await;
        assert_eq!(worker.in_flight(), 0, "in a worker that lives");
    }
    gateway.shutdown().await;
}
