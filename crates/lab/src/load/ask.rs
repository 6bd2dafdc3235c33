//! One request from its JSON to its complete answer, with the clock running.

use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use sse_stream::SseStream;

use super::answer::Draft;
use super::{Answer, Failure, Load};
use crate::client::{CallError, Server, to_json};
use crate::ruler::{Message, messages};
use crate::workload::Body;

/// Largest answer read; at a few hundred bytes an event it is far above what any `max_tokens` here asks for.
const STREAM_BYTES: usize = 16 << 20;

/// Names the worker that answered; set by the gateway.
const WORKER_HEADER: &str = "x-warmroute-worker";

/// One request that is to be sent.
pub(super) struct Order<'a> {
    pub(super) body: &'a Body,
    /// Keeps it from sharing cache with anything of another salt.
    pub(super) salt: Option<String>,
    pub(super) server: &'a Server,
}

/// The JSON of a request: streamed, greedy, with usage at the end.
#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    #[serde(flatten)]
    prompt: Prompt<'a>,
    max_tokens: u32,
    temperature: u8,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_salt: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Prompt<'a> {
    Completion { prompt: &'a str },
    Chat { messages: [Message<'a>; 2] },
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// Sends one request and reads its answer to the end. Dropping the future closes the connection.
pub(super) async fn ask(load: &Load, order: &Order<'_>) -> Result<Answer, Failure> {
    let (path, body) = encode(load, order);
    match tokio::time::timeout(load.timeout, exchange(order.server, path, body)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let seconds = load.timeout.as_secs_f64();
            Err(Failure {
                status: None,
                message: format!(
                    "no complete answer within {seconds} s; hint: allow more time, or ask for less"
                ),
            })
        }
    }
}

fn encode(load: &Load, order: &Order<'_>) -> (&'static str, Bytes) {
    let (path, prompt) = match order.body {
        Body::Completion { prompt } => ("/v1/completions", Prompt::Completion { prompt }),
        Body::Chat { system, question } => {
            ("/v1/chat/completions", Prompt::Chat { messages: messages(system, question) })
        }
    };
    let json = Json {
        model: &load.model,
        prompt,
        max_tokens: load.max_tokens,
        temperature: 0,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        cache_salt: order.salt.as_deref(),
    };
    (path, to_json(&json))
}

async fn exchange(server: &Server, path: &'static str, body: Bytes) -> Result<Answer, Failure> {
    let sent = Instant::now();
    let response = server.open(path, body).await?;
    let status = response.status();
    if status != StatusCode::OK {
        let said = server.read(path, response.into_body()).await?;
        return Err(CallError::refused(format!("{}{path}", server.base()), status, &said).into());
    }
    let worker = worker_of(response.headers());
    let body = Limited::new(response.into_body(), STREAM_BYTES).map_err(std::io::Error::other);
    let mut events = pin!(SseStream::new(body));
    let mut draft = Draft::default();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| failure(format!("the stream broke off: {error}")))?;
        if let Some(data) = event.data {
            draft.read(&data, sent.elapsed())?;
        }
    }
    finish(draft, sent.elapsed(), worker)
}

fn finish(draft: Draft, latency: Duration, worker: Option<String>) -> Result<Answer, Failure> {
    // A stream that merely stops looks like a short answer: only [DONE] tells the two apart.
    if !draft.done {
        return Err(failure(
            "the stream stopped without its end, data: [DONE]; hint: see the server's log".to_owned(),
        ));
    }
    Ok(Answer {
        ttft: draft.first_text.unwrap_or(latency),
        latency,
        prompt: draft.prompt,
        cached: draft.cached,
        said: draft.said,
        worker,
    })
}

fn worker_of(headers: &HeaderMap) -> Option<String> {
    headers.get(WORKER_HEADER)?.to_str().ok().map(str::to_owned)
}

fn failure(message: String) -> Failure {
    Failure { status: Some(StatusCode::OK.as_u16()), message }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self { status: error.status().map(|status| status.as_u16()), message: error.to_string() }
    }
}
