//! Clients that talk to the gateway for as long as a harm lasts: conversations that grow and share their beginnings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const CLIENTS: usize = 4;
/// Conversations, and how many turns one has before it begins again.
const CONVERSATIONS: usize = 24;
const TURNS: usize = 12;

type Http = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

/// The body of a request; there are [`different`] ones.
pub(crate) fn body(number: usize) -> String {
    let (conversation, turn) = (number * 7 % CONVERSATIONS, number / CONVERSATIONS % TURNS);
    let system = format!("You are desk {}. ", conversation % 3).repeat(20);
    let mut messages = vec![json!({"role": "system", "content": system})];
    for turn in 0..=turn {
        let content = format!("user {conversation} asks for the {turn}th time ").repeat(6);
        messages.push(json!({"role": "user", "content": content}));
    }
    json!({"model": "emulated", "messages": messages, "max_tokens": 8}).to_string()
}

/// How many different requests there are.
pub(crate) const fn different() -> usize {
    CONVERSATIONS * TURNS
}

/// Sends a body; the status and what came back.
pub(crate) async fn post(http: &Http, url: &str, body: String) -> (u16, String) {
    let request = http::Request::post(url).header("content-type", "application/json");
    let answer = match http.request(request.body(Full::from(body)).unwrap()).await {
        Ok(answer) => answer,
        Err(error) => return (0, format!("{error:?}")),
    };
    let status = answer.status().as_u16();
    match answer.into_body().collect().await {
        Ok(body) => (status, String::from_utf8_lossy(&body.to_bytes()).into_owned()),
        Err(error) => (0, format!("cut off: {error:?}")),
    }
}

pub(crate) async fn get(http: &Http, url: &str) -> String {
    let answer = http.get(url.parse().unwrap()).await.unwrap();
    String::from_utf8_lossy(&answer.into_body().collect().await.unwrap().to_bytes()).into_owned()
}

/// Clients at work.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    pub(crate) fn start(gateway: &str) -> Self {
        let (over, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(talk(gateway.to_owned(), Arc::clone(&over), Arc::clone(&asked)));
        }
        Self { over, asked, clients }
    }

    /// Waits until so many more requests have begun.
    pub(crate) async fn go_on_for(&self, requests: usize) {
        let until = self.asked.load(Ordering::SeqCst) + requests;
        while self.asked.load(Ordering::SeqCst) < until {
            tokio::task::yield_now().await;
        }
    }

    /// Ends it: how many requests there were, and what was wrong with those that failed.
    pub(crate) async fn end(self) -> (usize, Vec<String>) {
        self.over.store(true, Ordering::SeqCst);
        let failures = self.clients.join_all().await.concat();
        (self.asked.load(Ordering::SeqCst), failures)
    }
}

async fn talk(gateway: String, over: Arc<AtomicBool>, asked: Arc<AtomicUsize>) -> Vec<String> {
    let (http, url, mut failures) = (http(), format!("{gateway}/v1/chat/completions"), Vec::new());
    while !over.load(Ordering::SeqCst) {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        let (status, text) = post(&http, &url, body(number)).await;
        let answered = status == 200
            && serde_json::from_str::<Value>(&text).is_ok_and(|answer| answer["usage"].is_object());
        if !answered {
            failures.push(format!("{status} {text}"));
        }
    }
    failures
}
