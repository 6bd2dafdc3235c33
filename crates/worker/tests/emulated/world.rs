//! An emulated worker under test and a client for it.

use reqwest::{Client, Response};
use serde_json::{Value, json};
use warmroute_worker::emulated::{EmulatedConfig, RunningEmulator, start};

pub(crate) struct World {
    pub(crate) worker: RunningEmulator,
    client: Client,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut EmulatedConfig)) -> Self {
        let mut config = EmulatedConfig::default();
        change(&mut config);
        Self { worker: start(config).await.unwrap(), client: Client::new() }
    }

    /// A world in which this goes wrong.
    pub(crate) async fn failing(rule: &str) -> Self {
        Self::with(|config| config.faults.push(rule.parse().unwrap())).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.worker.address())
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> reqwest::Result<Response> {
        self.client.post(self.url(path)).body(body.to_string()).send().await
    }

    /// The JSON of a successful answer.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Value {
        let response = self.try_post(path, body).await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path} answered {status}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The text of a successful stream.
    pub(crate) async fn stream(&self, path: &str, body: &Value) -> String {
        let response = self.try_post(path, body).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response.text().await.unwrap()
    }

    /// The value of a sample whose line starts with `name`.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let exposition = self.get("/metrics").await.text().await.unwrap();
        let line = exposition.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{exposition}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// The body of a chat with `more` fields.
pub(crate) fn chat(content: &str, more: Value) -> Value {
    let mut body = json!({"model": "emulated", "messages": [{"role": "user", "content": content}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The body of a completion with `more` fields.
pub(crate) fn completion(prompt: &str, more: Value) -> Value {
    let mut body = json!({"model": "emulated", "prompt": prompt});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The JSON of all events of a stream but `[DONE]`.
pub(crate) fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// Prompt and cached tokens.
pub(crate) fn usage(answer: &Value) -> (u64, u64) {
    let usage = &answer["usage"];
    let cached = &usage["prompt_tokens_details"]["cached_tokens"];
    (usage["prompt_tokens"].as_u64().unwrap(), cached.as_u64().unwrap())
}
