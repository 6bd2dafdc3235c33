//! From a request to its answer: what is served, what goes wrong on purpose, and what every answer carries.
//!
//! Straight on hyper: a gateway's bench should not wait for its stand-ins, so there is one look-up and no layers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use serde_json::{Value, json};
use warmroute_kv::Tokens;
use warmroute_openai::request::{TokenizeInput, TokenizeRequest};
use warmroute_openai::response::{FinishReason, ModelCard, ModelList, TokenizeResponse, Usage};
use warmroute_openai::{AnswerHead, ApiError};

use super::EmulatedConfig;
use super::engine::Engine;
use super::faults::{FaultRule, Faults, Interruption, Strike, stall};
use super::look::{self, Other, Prompt};
use super::pieces::{Facts, Pieces};
use super::reply::Reply;
use super::surface::{self, Place, Surface};
use super::text::Text;
use crate::engine::EXPOSITION_TYPE;
use crate::server::Caller;
use crate::service::{BODY_LIMIT_BYTES, Refusal, unix_seconds};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Sound makes about this many bytes a token (speech at 16 kB a second, some 25 tokens a second).
const SOUND_TOKEN_BYTES: usize = 640;

/// Numbers in an embedding.
const EMBEDDING_WIDTH: u32 = 8;

/// Everything an emulated worker is.
#[derive(Debug)]
pub(super) struct Emulator {
    pub(super) engine: Engine,
    pub(super) faults: Faults,
    pub(super) draining: AtomicBool,
    /// The served name, then aliases.
    names: Vec<String>,
    answer_tokens: Tokens,
    chunk_bytes: usize,
    takes_orders: bool,
    started: u64,
    next_id: AtomicU64,
}

type Answered = Result<Response<Body>, ApiError>;

impl Emulator {
    pub(super) fn new(config: &EmulatedConfig) -> Self {
        Self {
            engine: Engine::new(config),
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
            Ok(place) if place.is_work() => match self.strike().await? {
                Ok(interruption) => self.work(place, request, &name, (caller, interruption)).await,
                Err(error) => Err(error),
            },
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

    async fn work(
        &self,
        place: Place,
        request: Request<Incoming>,
        name: &HeaderValue,
        after: (Caller, Option<Interruption>),
    ) -> Answered {
        let body = whole(request).await?;
        if self.draining.load(Ordering::Acquire) {
            return Err(ApiError::draining());
        }
        match place {
            Place::Generate(surface) => self.generate(surface, &body, name, after).await,
            Place::Embeddings => self.embed(&body).await,
            Place::Rerank => self.rerank(&body).await,
            _ => self.transcribe(&body).await,
        }
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

    /// Has a prompt read for an answer that is not text.
    async fn read(&self, prompt: Prompt) -> Result<Usage, ApiError> {
        let tokens = prompt.tokens;
        let mut ticket = self.engine.begin(prompt).await?;
        ticket.reached(1).await?;
        let usage = Usage::new(tokens.0, ticket.cached().0, 0);
        ticket.finish();
        Ok(usage)
    }

    async fn embed(&self, body: &[u8]) -> Answered {
        let asked = Other::read(body)?;
        let model = self.served(asked.model.as_deref())?;
        let Some(input) = asked.input else {
            return Err(ApiError::invalid_param("input", "is missing", "send the text as 'input'"));
        };
        let several: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(input.get()).unwrap_or_default();
        let texts = several.iter().all(|text| !text.get().starts_with(|first: char| first.is_ascii_digit()));
        let texts = if several.is_empty() || !texts { vec![input] } else { several };
        let usage = self.read(asked.prompt(&self.names[0])).await?;
        let data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let name = Prompt::of(warmroute_kv::BlockHash(0), text.get().as_bytes()).name;
                let number =
                    |place: u32| (name.next_text(&place.to_le_bytes()).0 >> 11) as f64 / (1_u64 << 53) as f64;
                let embedding: Vec<f64> = (0..EMBEDDING_WIDTH).map(number).collect();
                json!({"object": "embedding", "index": index, "embedding": embedding})
            })
            .collect();
        let usage = json!({"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens});
        Ok(answer_json(&json!({"object": "list", "data": data, "model": model, "usage": usage})))
    }

    async fn rerank(&self, body: &[u8]) -> Answered {
        let asked = Other::read(body)?;
        let model = self.served(asked.model.as_deref())?;
        let documents: Option<Vec<Value>> =
            asked.documents.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let Some(documents) = documents else {
            return Err(ApiError::invalid_param("documents", "is no array", "send the texts as 'documents'"));
        };
        let usage = self.read(asked.prompt(&self.names[0])).await?;
        let score = |text: &str| {
            Prompt::of(warmroute_kv::BlockHash(0), text.as_bytes()).name.0 as f64 / u64::MAX as f64
        };
        let mut results: Vec<(usize, f64)> =
            documents.iter().map(|document| score(&document.to_string())).enumerate().collect();
        results.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let results: Vec<Value> = results
            .into_iter()
            .take(asked.top_n.unwrap_or(usize::MAX))
            .map(|(index, score)| {
                let document = &documents[index];
                let text = document.get("text").unwrap_or(document);
                json!({"index": index, "relevance_score": score, "document": {"text": text}})
            })
            .collect();
        let usage = json!({"total_tokens": usage.prompt_tokens, "prompt_tokens": usage.prompt_tokens});
        Ok(answer_json(&json!({"id": "rerank-0", "model": model, "results": results, "usage": usage})))
    }

    async fn transcribe(&self, body: &[u8]) -> Answered {
        let tokens = Tokens::of(body.len().div_ceil(SOUND_TOKEN_BYTES).max(1));
        self.read(Prompt::of_nothing(tokens)).await?;
        let name = Prompt::of(warmroute_kv::BlockHash(0), body).name;
        let mut text = Vec::new();
        (0..self.answer_tokens.0)
            .for_each(|place| Text { prompt: name, token_bytes: self.chunk_bytes }.write(place, &mut text));
        Ok(answer_json(&json!({"text": String::from_utf8_lossy(&text)})))
    }

    fn check_model(&self, name: &str) -> Result<(), ApiError> {
        if self.names.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(ApiError::model_not_found(name, &self.names))
    }

    fn served<'a>(&'a self, name: Option<&'a str>) -> Result<&'a str, ApiError> {
        let name = name.unwrap_or(&self.names[0]);
        self.check_model(name).map(|()| name)
    }

    /// What is no work for the model.
    async fn tell(&self, place: Place, request: Request<Incoming>, caller: &Caller) -> Answered {
        Ok(match place {
            Place::Health => {
                if self.draining.load(Ordering::Acquire) {
                    return Err(ApiError::draining());
                }
                if self.faults.unready() {
                    return Err(unready());
                }
                StatusCode::OK.into_response()
            }
            Place::Metrics => {
                ([(header::CONTENT_TYPE, EXPOSITION_TYPE)], self.engine.expose()).into_response()
            }
            Place::Models => {
                let longest = self.engine.desk().longest().0;
                let card = |name: &String| ModelCard::new(name, self.started, longest);
                answer_body(ModelList::new(self.names.iter().map(card).collect()).to_body().into())
            }
            Place::ResetCache => {
                self.engine.clear_cache();
                StatusCode::OK.into_response()
            }
            Place::Tokenize => self.tokenize(&whole(request).await?)?,
            Place::Faults => self.obey(request, caller).await?,
            _ => answer_json(&json!({"version": env!("CARGO_PKG_VERSION")})),
        })
    }

    fn tokenize(&self, body: &[u8]) -> Answered {
        let request = TokenizeRequest::parse(body)?;
        self.served(request.model.as_deref())?;
        let other = Other::read(body)?;
        let bytes = match request.input {
            TokenizeInput::Prompt(_) | TokenizeInput::Messages(_, true) => other.bytes(),
            TokenizeInput::Messages(_, false) => {
                return Err(ApiError::unsupported("add_generation_prompt", "is false", "leave it out"));
            }
        };
        let tokens = look::token_ids(&bytes);
        let count = Tokens::of(tokens.len()).0;
        let answer = TokenizeResponse { count, max_model_len: self.engine.desk().longest().0, tokens };
        Ok(answer_body(answer.to_body().into()))
    }

    /// `GET` tells the faults in force, `POST` adds one or several, `DELETE` ends them all.
    async fn obey(&self, request: Request<Incoming>, caller: &Caller) -> Answered {
        if !caller.address.ip().is_loopback() {
            let message =
                "faults take orders from this machine only; hint: send the order from where the worker runs";
            return Err(ApiError::new(403, "permission_error", message));
        }
        match *request.method() {
            Method::POST => {
                let body = whole(request).await?;
                let order: Value = serde_json::from_slice(&body).map_err(ApiError::invalid_json)?;
                let orders = order.as_array().cloned().unwrap_or_else(|| vec![order]);
                let rules: Result<Vec<FaultRule>, _> = orders.iter().map(FaultRule::from_json).collect();
                let rules = rules.map_err(|error| ApiError::invalid_request(error.to_string()))?;
                rules.into_iter().for_each(|rule| self.faults.add(rule));
            }
            Method::DELETE => self.faults.clear(),
            _ => {}
        }
        let told = self.faults.in_force().into_iter().map(|one| {
            let mut told = one.rule.to_json();
            told["struck"] = one.struck.into();
            told
        });
        Ok(answer_json(&Value::Array(told.collect())))
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

fn unready() -> ApiError {
    ApiError::new(
        503,
        "service_unavailable",
        "the worker is not ready; hint: this was asked for, see GET /faults",
    )
    .with_code("not_ready")
}

/// The whole body within the limit.
async fn whole(request: Request<Incoming>) -> Result<Bytes, ApiError> {
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
    let length = reply.length();
    match reply.into_whole() {
        Ok(bytes) => answer_body(bytes),
        Err(reply) => {
            let mut response = Response::new(reply.into_body());
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CONTENT_LENGTH, length.into());
            response
        }
    }
}

fn answer_json(json: &Value) -> Response<Body> {
    answer_body(json.to_string().into())
}

fn answer_body(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
