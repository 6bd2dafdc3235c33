//! Tokens from the engine become an OpenAI answer: whole, or as server-sent events.
//!
//! Both completion kinds and both ways of delivery read the same updates, so streamed and whole answers cannot differ in
//! their text.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc;
use warmroute_openai::response::Usage;
use warmroute_openai::{AnswerHead, sse};

use super::admission::{Begun, engine_died};
use super::refusal::Refusal;
use crate::engine::{Update, Used};

/// Which endpoint's shape an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `/v1/completions`
    Completion,
    /// `/v1/chat/completions`
    Chat,
}

/// Collects a whole answer. Dropping the future cancels the request.
pub(super) async fn whole(shape: Shape, head: AnswerHead, mut begun: Begun) -> Result<Response, Refusal> {
    let mut text = String::new();
    let mut update = begun.first;
    loop {
        text += &update.text;
        if let Some((reason, used)) = update.finish {
            let usage = usage(used);
            return Ok(match shape {
                Shape::Completion => axum::Json(head.completion(text, reason, usage)).into_response(),
                Shape::Chat => axum::Json(head.chat(text, reason, usage)).into_response(),
            });
        }
        update = begun.rest.recv().await.ok_or_else(|| Refusal(engine_died()))?;
    }
}

/// Answers as a stream. Dropping the body cancels the request.
pub(super) fn streamed(shape: Shape, head: AnswerHead, begun: Begun, include_usage: bool) -> Response {
    let Begun { first, rest } = begun;
    let events = Events { shape, head, include_usage, first: Some(first), rest, stage: Stage::Open };
    let body = Body::from_stream(stream::unfold(events, |mut events| async {
        let next = events.next().await?;
        Some((next, events))
    }));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}

/// The events of one stream.
struct Events {
    shape: Shape,
    head: AnswerHead,
    include_usage: bool,
    /// The update that was waited for before the headers went out.
    first: Option<Update>,
    rest: mpsc::Receiver<Update>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The error event is out; the connection must still be cut, since SDKs take a clean end for success.
    Broken,
    Ended,
}

impl Events {
    /// What to send next; nothing for tokens that bring no text, but always something for the first one.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        while self.stage == Stage::Open {
            let first = self.first.take();
            let is_first = first.is_some();
            let update = match first {
                Some(update) => Some(update),
                None => self.rest.recv().await,
            };
            let Some(update) = update else {
                self.stage = Stage::Broken;
                return Some(Ok(engine_died().sse_event().into()));
            };
            let bytes = match self.shape {
                Shape::Completion => self.completion_events(update, is_first),
                Shape::Chat => self.chat_events(update, is_first),
            };
            if !bytes.is_empty() {
                return Some(Ok(bytes.into()));
            }
        }
        if self.stage == Stage::Broken {
            self.stage = Stage::Ended;
            return Some(Err(io::Error::other("the inference engine stopped")));
        }
        None
    }

    fn completion_events(&mut self, update: Update, is_first: bool) -> Vec<u8> {
        let reason = update.finish.map(|(reason, _)| reason);
        if update.text.is_empty() && reason.is_none() && !is_first {
            return Vec::new();
        }
        let mut bytes = sse::event(&self.head.completion_chunk(update.text, reason));
        if let Some((_, used)) = update.finish {
            let usage = self.head.completion_usage(usage(used));
            self.end(&mut bytes, &usage);
        }
        bytes
    }

    fn chat_events(&mut self, update: Update, is_first: bool) -> Vec<u8> {
        let mut bytes = if is_first { sse::event(&self.head.chat_start()) } else { Vec::new() };
        if !update.text.is_empty() {
            bytes.extend(sse::event(&self.head.chat_delta(update.text)));
        }
        if let Some((reason, used)) = update.finish {
            bytes.extend(sse::event(&self.head.chat_end(reason)));
            let usage = self.head.chat_usage(usage(used));
            self.end(&mut bytes, &usage);
        }
        bytes
    }

    fn end(&mut self, bytes: &mut Vec<u8>, usage: &impl Serialize) {
        if self.include_usage {
            bytes.extend(sse::event(usage));
        }
        bytes.extend(sse::DONE);
        self.stage = Stage::Ended;
    }
}

fn usage(used: Used) -> Usage {
    // Every count is bounded by the context length.
    let count = |tokens| u32::try_from(tokens).unwrap_or(u32::MAX);
    Usage::new(count(used.prompt), count(used.cached), count(used.answer))
}
