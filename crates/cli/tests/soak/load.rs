//! Clients of every kind: they ask what nobody has asked before, go on with what others have begun, leave in the middle, and ask for what
//! there is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Sends a body; the status and what came back.
pub(crate) async fn post(http: &Http, url: &str, body: String) -> (u16, String) {
    let request = http::Request::post(url).header("content-type", "application/json");
    send(http, request.body(Full::from(body)).unwrap()).await
}

pub(crate) async fn delete(http: &Http, url: &str) -> u16 {
    send(http, http::Request::delete(url).body(Full::default()).unwrap()).await.0
}

pub(crate) async fn get(http: &Http, url: &str) -> String {
    send(http, http::Request::get(url).body(Full::default()).unwrap()).await.1
}

async fn send(http: &Http, request: http::Request<Full<Bytes>>) -> (u16, String) {
    let Ok(answer) = http.request(request).await else { return (0, String::new()) };
    let status = answer.status().as_u16();
    match answer.into_body().collect().await {
        Ok(body) => (status, String::from_utf8_lossy(&body.to_bytes()).into_owned()),
        Err(_) => (0, String::new()),
    }
}

/// Requests that come until they are told to end.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

/// What became of them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answered: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) left: AtomicU64,
    pub(crate) broken: AtomicU64,
}

impl Load {
    #[expect(clippy::disallowed_methods, reason = "`end` awaits it")]
    pub(crate) fn start(gateway: &str, per_s: f64) -> Self {
        let (over, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let task = tokio::spawn(run(gateway.to_owned(), per_s, Arc::clone(&over), Arc::clone(&counts)));
        Self { over, counts, task }
    }

    /// Begins no more, and waits for those that have begun.
    pub(crate) async fn end(self) -> Arc<Counts> {
        self.over.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        self.counts
    }
}

async fn run(gateway: String, per_s: f64, over: Arc<AtomicBool>, counts: Arc<Counts>) {
    let mut due = interval(Duration::from_secs_f64(per_s.recip()));
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (http, mut under_way) = (http(), JoinSet::new());
    for number in 0_u64.. {
        due.tick().await;
        if over.load(Ordering::SeqCst) {
            break;
        }
        let caller = Caller { http: http.clone(), gateway: gateway.clone(), counts: Arc::clone(&counts) };
        under_way.spawn(caller.act(number));
        while under_way.try_join_next().is_some() {}
    }
    under_way.join_all().await;
}

/// One that asks once.
struct Caller {
    http: Http,
    gateway: String,
    counts: Arc<Counts>,
}

impl Caller {
    async fn act(self, number: u64) {
        let shared = format!("You are desk {}. ", number % 5).repeat(20);
        let own = format!("This is what number {number} wants to know. ").repeat(1 + number as usize % 40);
        let messages = json!([{"role": "system", "content": shared}, {"role": "user", "content": own}]);
        let stream = number.is_multiple_of(2);
        let chat = json!({"model": "emulated", "messages": messages, "max_tokens": 24, "stream": stream});
        match number % 10 {
            0..=3 => self.ask("/v1/chat/completions", chat.to_string()).await,
            4 => self.leave(chat.to_string()).await,
            5 => self.ask("/v1/completions", json!({"model": "emulated", "prompt": own}).to_string()).await,
            6 => self.ask("/v1/responses", json!({"model": "emulated", "input": own}).to_string()).await,
            // Names that nobody has said before, which nobody is to remember.
            7 => {
                let body = json!({"model": format!("nobody-{number}"), "prompt": own}).to_string();
                self.ask("/v1/completions", body).await;
            }
            8 => self.ask(&format!("/v1/nothing/{number}"), "{\"no\": json".to_owned()).await,
            _ => self.break_off(number).await,
        }
    }

    fn count(&self, status: u16) {
        let counter = match status {
            0 => &self.counts.broken,
            200 => &self.counts.answered,
            _ => &self.counts.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    async fn ask(&self, path: &str, body: String) {
        let (status, _) = post(&self.http, &format!("{}{path}", self.gateway), body).await;
        self.count(status);
    }

    /// Goes when the first piece of a stream has come.
    async fn leave(&self, body: String) {
        let request = http::Request::post(format!("{}/v1/chat/completions", self.gateway));
        let request = request.header("content-type", "application/json").body(Full::from(body)).unwrap();
        let Ok(mut answer) = self.http.request(request).await else { return self.count(0) };
        let _ = answer.body_mut().frame().await;
        self.counts.left.fetch_add(1, Ordering::Relaxed);
    }

    /// Connects, says half of something and goes.
    async fn break_off(&self, number: u64) {
        let address = self.gateway.trim_start_matches("http://");
        let Ok(mut stream) = TcpStream::connect(address).await else { return self.count(0) };
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ncontent-length: 100\r\n\r\n{\"model\":";
        let said = &head.as_bytes()[..number as usize / 10 % head.len()];
        let _ = stream.write_all(said).await;
        self.counts.left.fetch_add(1, Ordering::Relaxed);
    }
}
