//! The HTTP surface: one list of routes, and what stands around them.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use tower_http::catch_panic::CatchPanicLayer;
use uuid::Uuid;
use warmroute_openai::request::{
    ChatRequest, CompletionRequest, DetokenizeRequest, GenerationOptions, Prompt, TokenizeInput,
    TokenizeRequest,
};
use warmroute_openai::response::{DetokenizeResponse, ModelCard, ModelList, TokenizeResponse};
use warmroute_openai::{AnswerHead, ApiError};

use super::Service;
use super::admission::{Begun, Text};
use super::answers::{self, Shape};
use super::arrivals::Departed;
use super::refusal::{BODY_LIMIT_BYTES, Refusal, Whole};
use crate::engine::EXPOSITION_TYPE;

type Shared = State<Arc<Service>>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer request id is replaced by one of ours: it goes into answers and logs.
const REQUEST_ID_BYTES: usize = 128;

/// The id of the request at hand, the client's own or a fresh one.
#[derive(Clone, Debug)]
struct RequestName(HeaderValue);

/// Everything served: method, path, handler. The router and the hints of errors are made from this list.
fn routes() -> [(&'static str, &'static str, MethodRouter<Arc<Service>>); 9] {
    [
        ("POST", "/v1/completions", post(complete)),
        ("POST", "/v1/chat/completions", post(chat)),
        ("GET", "/v1/models", get(models)),
        ("GET", "/health", get(health)),
        ("GET", "/metrics", get(metrics)),
        ("POST", "/tokenize", post(tokenize)),
        ("POST", "/detokenize", post(detokenize)),
        ("POST", "/reset_prefix_cache", post(reset_prefix_cache)),
        ("GET", "/version", get(version)),
    ]
}

/// The router over a service. Outermost is the request id, so that every answer carries one.
pub(super) fn router(service: Arc<Service>) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, (_, path, handler)| router.route(path, handler))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(CatchPanicLayer::custom(|_| {
            Refusal(ApiError::internal("a request handler panicked")).into_response()
        }))
        .layer(middleware::from_fn(name_request))
        .with_state(service)
}

async fn name_request(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID);
    let name = given.filter(|name| name.len() <= REQUEST_ID_BYTES && name.to_str().is_ok()).cloned();
    let name = name.unwrap_or_else(|| {
        HeaderValue::from_str(&Uuid::now_v7().to_string()).expect("a UUID is hexadecimal digits and dashes")
    });
    request.extensions_mut().insert(RequestName(name.clone()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, name);
    response
}

async fn unknown_path(request: Request) -> Refusal {
    Refusal(ApiError::not_found(request.uri().path()))
}

/// axum adds the `allow` header.
async fn wrong_method(request: Request) -> Refusal {
    let path = request.uri().path();
    let allowed =
        routes().into_iter().find(|(_, known, _)| *known == path).map_or("another method", |route| route.0);
    Refusal(ApiError::method_not_allowed(request.method().as_str(), path, allowed))
}

async fn complete(
    State(service): Shared,
    Extension(name): Extension<RequestName>,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<Response, Refusal> {
    let departed = Departed::of(&headers);
    let turn = service.arrivals.take(&service.turns, departed).await;
    let request = CompletionRequest::parse(&body)?;
    service.check_model(&request.model)?;
    let tokens = service.prompt_tokens(request.prompt).await?;
    let begun = service.begin(tokens, &request.options, (turn, departed)).await?;
    answer(Shape::Completion, service.head("cmpl", &name, request.model), begun, &request.options).await
}

async fn chat(
    State(service): Shared,
    Extension(name): Extension<RequestName>,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<Response, Refusal> {
    let departed = Departed::of(&headers);
    let turn = service.arrivals.take(&service.turns, departed).await;
    let request = ChatRequest::parse(&body)?;
    service.check_model(&request.model)?;
    let tokens = service.tokenize(service.render(&request.messages)?).await?;
    let begun = service.begin(tokens, &request.options, (turn, departed)).await?;
    answer(Shape::Chat, service.head("chatcmpl", &name, request.model), begun, &request.options).await
}

async fn answer(
    shape: Shape,
    head: AnswerHead,
    begun: Begun,
    options: &GenerationOptions,
) -> Result<Response, Refusal> {
    if options.stream {
        return Ok(answers::streamed(shape, head, begun, options.stream_options.include_usage));
    }
    answers::whole(shape, head, begun).await
}

async fn models(State(service): Shared) -> Json<ModelList> {
    let card =
        |name: &String| ModelCard::new(name, service.started, service.longest()).with_root(&service.names[0]);
    Json(ModelList::new(service.names.iter().map(card).collect()))
}

async fn health(State(service): Shared) -> Result<StatusCode, Refusal> {
    if service.is_draining() || !service.engine.is_alive() {
        return Err(Refusal(ApiError::draining()));
    }
    Ok(StatusCode::OK)
}

async fn metrics(State(service): Shared) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, EXPOSITION_TYPE)], service.engine.expose_metrics())
}

async fn tokenize(State(service): Shared, Whole(body): Whole) -> Result<Json<TokenizeResponse>, Refusal> {
    let request = TokenizeRequest::parse(&body)?;
    if let Some(name) = &request.model {
        service.check_model(name)?;
    }
    let text = match request.input {
        TokenizeInput::Prompt(text) => Text::Raw(text),
        TokenizeInput::Messages(messages, true) => service.render(&messages)?,
        TokenizeInput::Messages(_, false) => {
            let hint = "leave it out: the tokens of a chat are counted as they are sent to the model";
            return Err(Refusal(ApiError::unsupported("add_generation_prompt", "is false", hint)));
        }
    };
    let tokens = service.tokenize(text).await?;
    let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    Ok(Json(TokenizeResponse { count, max_model_len: service.longest(), tokens }))
}

async fn detokenize(State(service): Shared, Whole(body): Whole) -> Result<Json<DetokenizeResponse>, Refusal> {
    let request = DetokenizeRequest::parse(&body)?;
    if let Some(name) = &request.model {
        service.check_model(name)?;
    }
    let tokens = service.prompt_tokens(Prompt::Tokens(request.tokens)).await?;
    let prompt = service.model.tokenizer.decode(&tokens).map_err(ApiError::internal)?;
    Ok(Json(DetokenizeResponse { prompt }))
}

async fn reset_prefix_cache(State(service): Shared) -> Result<StatusCode, Refusal> {
    service.engine.clear_cache().await?;
    Ok(StatusCode::OK)
}

async fn version() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }))
}

impl Service {
    fn head(&self, kind: &str, name: &RequestName, model: String) -> AnswerHead {
        let name = name.0.to_str().expect("checked when the request was named");
        AnswerHead { id: format!("{kind}-{name}"), created: super::unix_seconds(), model }
    }
}
