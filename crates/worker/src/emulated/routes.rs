//! From a request to its answer: what is served, what goes wrong on purpose, and what every answer carries.
//!
//! Straight on hyper: a gateway's bench should not wait for its stand-ins, so there is one look-up and no layers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::Value;
use warmroute_kv::Tokens;
use warmroute_openai::response::{FinishReason, Usage};
use warmroute_openai::{AnswerHead, ApiError};

use super::EmulatedConfig;
use super::engine::Engine;
use super::faults::{Faults, Interruption, Strike, stall};
use super::look;
use super::pieces::{Facts, Pieces};
use super::reply::Reply;
use super::status::unready;
use super::surface::{self, Place, Surface};
use super::text::Text;
use crate::publish::Outlet;
use crate::server::Caller;
use crate::service::{BODY_LIMIT_BYTES, Refusal, unix_seconds};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Everything an emulated worker is.
#[derive(Debug)]
pub(super) struct Emulator {
    pub(super) engine: Engine,
    pub(super) faults: Faults,
    pub(super) draining: AtomicBool,
    /// The served name, then aliases.
    pub(super) names: Vec<String>,
    pub(super) answer_tokens: Tokens,
    pub(super) chunk_bytes: usize,
    pub(super) takes_orders: bool,
    pub(super) started: u64,
    next_id: AtomicU64,
}

/// An answer, or why there is none.
pub(super) type Answered = Result<Response<Body>, ApiError>;

impl Emulator {
    pub(super) fn new(config: &EmulatedConfig, outlet: Option<Outlet>) -> Self {
        Self {
            engine: Engine::new(config, outlet),
            faults: Faults::new(&config.faults, config.seed),
            draining: AtomicBool::new(false),
            names: std::iter::once(&config.model).chain(&config.aliases).cloned().collect(),
            answer_tokens: config.answer_tokens.max(Tokens(1)),
            chunk_bytes: config.chunk_bytes.max(1),
            takes_orders: config.allow_fault_injection,
            started: unix_seconds(),
            next_id: AtomicU64::new(0),
        }
    }

    /// Answers one request; an error closes the connection.
    pub(super) async fn serve(
        self: Arc<Self>,
        caller: Caller,
        request: Request<Incoming>,
    ) -> io::Result<Response<Body>> {
        let name = self.name(&request);
        let answered = match self.place(&request) {
            Ok(place) if place.is_work() => self.work(place, request, &name, caller).await?,
            Ok(place) => self.tell(place, request, &caller).await,
            Err(error) => Err(error),
        };
        let mut response = answered.unwrap_or_else(|error| Refusal(error).into_response());
        response.headers_mut().insert(REQUEST_ID, name);
        Ok(response)
    }

    /// The client's own name for the request, or a number.
    fn name(&self, request: &Request<Incoming>) -> HeaderValue {
        let given = request.headers().get(REQUEST_ID).filter(|name| name.to_str().is_ok());
        given.cloned().unwrap_or_else(|| self.next_id.fetch_add(1, Ordering::Relaxed).into())
    }

    fn place(&self, request: &Request<Incoming>) -> Result<Place, ApiError> {
        let path = request.uri().path();
        match surface::find(path) {
            Some((_, Place::Faults)) if !self.takes_orders => Err(ApiError::not_found(path)),
            Some((method, _)) if !method.is_empty() && request.method().as_str() != method => {
                Err(ApiError::method_not_allowed(request.method().as_str(), path, method))
            }
            Some((_, place)) => Ok(place),
            None => Err(ApiError::not_found(path)),
        }
    }

    /// What befalls a request before its first byte, and what is still to come after that.
    async fn strike(&self) -> io::Result<Result<Option<Interruption>, ApiError>> {
        match self.faults.at_request() {
            None => return Ok(Ok(None)),
            Some(Strike::HangUp) => return Err(io::Error::other("a hang-up was asked for")),
            Some(Strike::Status(429)) => {
                return Ok(Err(ApiError::overloaded(self.engine.desk().gate.inside())));
            }
            Some(Strike::Status(503) | Strike::Unready) => return Ok(Err(unready())),
            Some(Strike::Status(_)) => return Ok(Err(ApiError::internal("this was asked for"))),
            Some(Strike::Midway(interruption)) => return Ok(Ok(Some(interruption))),
            Some(Strike::Stall(time)) => stall(time).await,
            Some(Strike::Slow(time)) => stall(Some(time)).await,
        }
        Ok(Ok(None))
    }

    /// What the model has to do, unless something goes wrong first.
    async fn work(
        &self,
        place: Place,
        request: Request<Incoming>,
        name: &HeaderValue,
        caller: Caller,
    ) -> io::Result<Answered> {
        let body = match whole(request).await {
            Ok(_) if self.draining.load(Ordering::Acquire) => return Ok(Err(ApiError::draining())),
            Ok(body) => body,
            Err(error) => return Ok(Err(error)),
        };
        let interruption = match self.strike().await? {
            Ok(interruption) => interruption,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match place {
            Place::Generate(surface) => self.generate(surface, &body, name, (caller, interruption)).await,
            Place::Embeddings => self.embed(&body).await,
            Place::Rerank => self.rerank(&body).await,
            _ => self.transcribe(&body).await,
        })
    }

    async fn generate(
        &self,
        surface: Surface,
        body: &[u8],
        name: &HeaderValue,
        (caller, interruption): (Caller, Option<Interruption>),
    ) -> Answered {
        let asked = look::look(surface, body, &self.names[0])?;
        let model = asked.model.as_deref().unwrap_or(&self.names[0]);
        self.check_model(model)?;
        let mut prompt = asked.prompt;
        prompt.answer = Tokens(asked.max_tokens.unwrap_or(self.answer_tokens.0).max(1));
        let (read, tokens) = (prompt.tokens, prompt.answer.0);
        let text = Text { prompt: prompt.name, token_bytes: self.chunk_bytes };
        let mut ticket = self.engine.begin(prompt).await?;
        let facts = Facts {
            head: AnswerHead { id: id(surface, name), created: unix_seconds(), model: model.to_owned() },
            usage: Usage::new(read.0, ticket.cached().0, tokens),
            finish: if asked.max_tokens.is_some() { FinishReason::Length } else { FinishReason::Stop },
            include_usage: asked.include_usage,
            previous: asked.previous.map(std::borrow::Cow::into_owned),
        };
        let pieces = if asked.stream {
            Pieces::streamed(surface, &facts)
        } else {
            ticket.reached(tokens).await?;
            Pieces::whole(surface, &facts)
        };
        Ok(send(Reply { ticket, pieces, text, tokens, interruption, cut: caller.cut }, asked.stream))
    }

    fn check_model(&self, name: &str) -> Result<(), ApiError> {
        if self.names.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(ApiError::model_not_found(name, &self.names))
    }

    pub(super) fn served<'a>(&'a self, name: Option<&'a str>) -> Result<&'a str, ApiError> {
        let name = name.unwrap_or(&self.names[0]);
        self.check_model(name).map(|()| name)
    }
}

fn id(surface: Surface, name: &HeaderValue) -> String {
    let kind = match surface {
        Surface::Chat => "chatcmpl-",
        Surface::Completion => "cmpl-",
        Surface::Responses => "resp_",
        Surface::Messages => "msg_",
    };
    format!("{kind}{}", name.to_str().unwrap_or_default())
}

/// The whole body within the limit.
pub(super) async fn whole(request: Request<Incoming>) -> Result<Bytes, ApiError> {
    let collected = Limited::new(request.into_body(), BODY_LIMIT_BYTES).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            return ApiError::payload_too_large(BODY_LIMIT_BYTES);
        }
        ApiError::invalid_json(error)
    })
}

fn send(reply: Reply, stream: bool) -> Response<Body> {
    if stream {
        let mut response = Response::new(reply.into_body());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        return response;
    }
    if reply.is_simple() {
        return answer_body(reply.into_whole());
    }
    let length = reply.length();
    let mut response = Response::new(reply.into_body());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, length.into());
    response
}

pub(super) fn answer_json(json: &Value) -> Response<Body> {
    answer_body(json.to_string().into())
}

pub(super) fn answer_body(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
