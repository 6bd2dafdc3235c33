//! Open-loop load: requests begin when their time has come, whatever became of those before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How one request ended, as its client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) began: Instant,
    /// Until the first piece of a good answer's body.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) status: u16,
    pub(crate) attempts: u32,
    /// Who answered, if anybody did.
    pub(crate) worker: String,
    pub(crate) whole: bool,
    /// What an error said.
    pub(crate) error: String,
}

impl Ending {
    /// What must not be.
    pub(crate) fn failed_before_first_byte(&self) -> bool {
        self.status != 200
    }
}

type Clients = Client<HttpConnector, Full<Bytes>>;

/// Requests that come until they are told to end.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    task: JoinHandle<Vec<Ending>>,
}

impl Load {
    #[expect(clippy::disallowed_methods, reason = "`end` awaits it")]
    pub(crate) fn start(gateway: SocketAddr, per_s: f64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(gateway, per_s, Arc::clone(&over)));
        Self { over, task }
    }

    /// Begins no more, and waits for those that have begun.
    pub(crate) async fn end(self) -> Vec<Ending> {
        self.over.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

async fn run(gateway: SocketAddr, per_s: f64, over: Arc<AtomicBool>) -> Vec<Ending> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut due = interval(Duration::from_secs_f64(per_s.recip()));
    // Where the machine did not run us, nobody asks all at once for what was missed.
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut under_way, mut endings) = (JoinSet::new(), Vec::new());
    for number in 0_u64.. {
        due.tick().await;
        if over.load(Ordering::SeqCst) {
            break;
        }
        under_way.spawn(ask(client.clone(), gateway, number));
        while let Some(ended) = under_way.try_join_next() {
            endings.push(ended.unwrap());
        }
    }
    endings.extend(under_way.join_all().await);
    endings
}

/// One request, streamed or not, that shares its beginning with some others.
async fn ask(client: Clients, gateway: SocketAddr, number: u64) -> Ending {
    let prompt = format!("{} ", number % 16) + &"And the king said unto the people. ".repeat(30);
    let body = serde_json::json!({
        "model": "emulated", "prompt": format!("{prompt}{number}"), "max_tokens": 8, "stream": number.is_multiple_of(2),
    });
    let request = http::Request::post(format!("http://{gateway}/v1/completions"))
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap();
    let mut ending = Ending {
        began: Instant::now(),
        first_byte: None,
        status: 0,
        attempts: 0,
        worker: String::new(),
        whole: false,
        error: String::new(),
    };
    match client.request(request).await {
        Ok(answer) => take(answer, &mut ending).await,
        Err(error) => ending.error = format!("{error:?}"),
    }
    ending
}

async fn take<B>(answer: http::Response<B>, ending: &mut Ending)
where
    B: BodyExt<Data = Bytes> + Unpin,
{
    ending.status = answer.status().as_u16();
    let attempts = answer.headers().get("x-warmroute-attempts");
    ending.attempts = attempts.and_then(|count| count.to_str().ok()?.parse().ok()).unwrap_or(0);
    let worker = answer.headers().get("x-warmroute-worker");
    ending.worker = worker.and_then(|name| name.to_str().ok()).unwrap_or_default().to_owned();
    let mut body = answer.into_body();
    loop {
        match body.frame().await {
            None => {
                ending.whole = true;
                return;
            }
            Some(Err(_)) => return,
            Some(Ok(frame)) => {
                if ending.status == 200 {
                    ending.first_byte.get_or_insert_with(|| ending.began.elapsed());
                } else if let Some(data) = frame.data_ref() {
                    ending.error += &String::from_utf8_lossy(data);
                }
            }
        }
    }
}
