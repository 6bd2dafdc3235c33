//! A worker under test and a client for it.

use std::sync::{Arc, LazyLock};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use warmroute_worker::model::{LoadedModel, ModelSource, load};
use warmroute_worker::{RunningWorker, WorkerConfig, WorkerModel, start};

/// Loaded once for all tests of this binary.
static MODEL: LazyLock<Arc<LoadedModel>> = LazyLock::new(|| Arc::new(load(&ModelSource::Embedded).unwrap()));

/// Text of about `words` tokens; texts of different `seed` share no block, those of equal seed share all they can.
pub(crate) fn prose(seed: usize, words: usize) -> String {
    const WORDS: [&str; 12] =
        ["the", "king", "of", "and", "said", "unto", "him", "in", "house", "day", "people", "shall"];
    let word = |place: usize| WORDS[(place * 7 + place * place * (seed + 3) + seed) % WORDS.len()];
    let words: Vec<&str> = (0..words).map(word).collect();
    format!("Chapter {seed}. {}", words.join(" "))
}

pub(crate) struct World {
    pub(crate) worker: RunningWorker,
    client: Client,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut WorkerConfig)) -> Self {
        let mut config =
            WorkerConfig { model: WorkerModel::Loaded(Arc::clone(&MODEL)), ..WorkerConfig::default() };
        change(&mut config);
        Self { worker: start(config).await.unwrap(), client: Client::new() }
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

    /// Posts JSON whatever the answer's status.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(self.url(path)).body(body.to_string()).send().await.unwrap()
    }

    /// The JSON of a successful answer.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body).await;
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path} answered {status}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A greedy completion of 24 tokens, with `more` fields.
    pub(crate) async fn complete(&self, prompt: &str, more: Value) -> Completed {
        Completed(self.ask("/v1/completions", &completion(prompt, more)).await)
    }

    /// The value of a sample whose line starts with `name`.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let exposition = self.get("/metrics").await.text().await.unwrap();
        let line = exposition.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{exposition}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// The body of a greedy completion of 24 tokens, overridden by `more`.
pub(crate) fn completion(prompt: &str, more: Value) -> Value {
    let mut body = json!({
        "model": "warmroute-tiny", "prompt": prompt, "max_tokens": 24, "temperature": 0, "ignore_eos": true
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The JSON of a whole completion.
#[derive(Debug)]
pub(crate) struct Completed(pub(crate) Value);

impl Completed {
    pub(crate) fn text(&self) -> &str {
        self.0["choices"][0]["text"].as_str().unwrap()
    }

    pub(crate) fn finish(&self) -> &str {
        self.0["choices"][0]["finish_reason"].as_str().unwrap()
    }

    pub(crate) fn prompt(&self) -> u64 {
        self.0["usage"]["prompt_tokens"].as_u64().unwrap()
    }

    pub(crate) fn cached(&self) -> u64 {
        self.0["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    }
}

/// The JSON events of a stream that ended in `[DONE]`.
pub(crate) fn events(stream: &str) -> Vec<Value> {
    let data =
        |event: &str| event.strip_prefix("data: ").unwrap_or_else(|| panic!("not data: {event}")).to_owned();
    let mut events: Vec<String> = stream.trim_end().split("\n\n").map(data).collect();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"), "in {stream}");
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}
