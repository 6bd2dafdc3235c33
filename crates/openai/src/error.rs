//! The one error shape a client ever sees: OpenAI's `{"error": {message, type, param, code}}`, as an answer or inside a stream.
//!
//! Clients show `message` to people and branch on `status` and `code`, so every constructor names the thing, says what
//! went wrong with it and ends in a `hint:` with the next step. The SDKs retry 408, 409, 429 and every status from 500
//! on; the constructors choose their status with that in mind.

use std::borrow::Cow;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// An error on its way to a client. `Display` is the message.
///
/// ```
/// use warmroute_openai::ApiError;
/// let error = ApiError::model_not_found("gpt-5", &["warmroute-tiny"]);
/// assert_eq!(error.status, 404);
/// assert!(error.to_string().contains("hint: "));
/// assert!(error.into_body().starts_with(br#"{"error":{"message":"#));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status; not part of the JSON.
    #[serde(skip)]
    pub status: u16,
    /// What happened to what, and `hint: ` with the next step.
    pub message: String,
    /// The class of error, `type` in JSON: `invalid_request_error`, `upstream_error`, ...
    #[serde(rename = "type", default = "unknown_kind")]
    pub kind: Cow<'static, str>,
    /// The request field at fault.
    #[serde(default)]
    pub param: Option<String>,
    /// A stable word for programs: `model_not_found`, `worker_lost`, ...
    #[serde(default)]
    pub code: Option<Cow<'static, str>>,
}

/// `kind` of everything that is the client's to change.
const INVALID_REQUEST: &str = "invalid_request_error";
/// `kind` of everything that is this server's or a worker's present state.
const UNAVAILABLE: &str = "service_unavailable";
/// `kind` of what a worker did to us.
const UPSTREAM: &str = "upstream_error";

#[derive(Serialize, Deserialize)]
struct Envelope<E> {
    error: E,
}

fn unknown_kind() -> Cow<'static, str> {
    Cow::Borrowed("unknown_error")
}

impl ApiError {
    /// Any status and kind; prefer the named constructors.
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), kind: Cow::Borrowed(kind), param: None, code: None }
    }

    /// The same error, blaming one request field.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same error with a stable word for programs.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(Cow::Borrowed(code));
        self
    }

    /// 400 with a message of the caller's, which should end in a `hint:`.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, INVALID_REQUEST, message)
    }

    /// 400: field `param` has a value we cannot use. `cause` continues the sentence "'param' ...".
    pub fn invalid_param(param: &str, cause: impl Display, hint: impl Display) -> Self {
        Self::invalid_request(format!("'{param}' {cause}; hint: {hint}")).with_param(param)
    }

    /// 400: field `param` asks for something this server does not do; answering as if it had not been sent would mislead.
    pub fn unsupported(param: &str, cause: impl Display, hint: impl Display) -> Self {
        Self::invalid_param(param, cause, hint).with_code("unsupported_parameter")
    }

    /// 400: the body is not JSON, or not the JSON we need. `cause` says where.
    pub fn invalid_json(cause: impl Display) -> Self {
        Self::invalid_request(format!(
            "the request body could not be read: {cause}; hint: send one JSON object, UTF-8, with content-type application/json"
        ))
        .with_code("invalid_json")
    }

    /// 400: prompt and answer together do not fit the model. `answer` is the number of tokens asked for, 0 if left open.
    pub fn context_length_exceeded(prompt: u32, answer: u32, context: u32) -> Self {
        let asked = match answer {
            0 => format!("the prompt has {prompt} tokens"),
            _ => format!("the prompt has {prompt} tokens and max_tokens asks for {answer} more"),
        };
        Self::invalid_request(format!(
            "{asked}, but the model's context is {context} tokens; hint: shorten the prompt or lower max_tokens"
        ))
        .with_code("context_length_exceeded")
    }

    /// 404: no worker serves this model.
    pub fn model_not_found<S: AsRef<str>>(name: &str, known: &[S]) -> Self {
        Self::model_not_found_but(name, known, None)
    }

    /// The same where one of the `known` names is so near that it may have been meant.
    pub fn model_not_found_but<S: AsRef<str>>(name: &str, known: &[S], nearest: Option<&str>) -> Self {
        let meant = nearest.map(|nearest| format!("did you mean '{nearest}'? ")).unwrap_or_default();
        let hint = if known.is_empty() {
            "no model is being served yet; ask GET /v1/models".to_owned()
        } else {
            format!("{meant}this server has {}", listed(known))
        };
        Self::new(404, INVALID_REQUEST, format!("the model '{name}' does not exist; hint: {hint}"))
            .with_param("model")
            .with_code("model_not_found")
    }

    /// 400: several models are served, and the request names none.
    pub fn model_required<S: AsRef<str>>(known: &[S]) -> Self {
        let message = format!("the request names no model; hint: send 'model' with one of {}", listed(known));
        Self::invalid_request(message).with_param("model").with_code("model_required")
    }

    /// 404: nothing lives at this path.
    pub fn not_found(path: &str) -> Self {
        let message = format!(
            "nothing is served at {path}; hint: try /v1/chat/completions, /v1/completions, /v1/models or /health"
        );
        Self::new(404, INVALID_REQUEST, message).with_code("unknown_url")
    }

    /// 405: the path exists, for other methods (`allowed`, as in the `allow` header).
    pub fn method_not_allowed(method: &str, path: &str, allowed: &str) -> Self {
        Self::new(405, INVALID_REQUEST, format!("{path} does not take {method}; hint: use {allowed}"))
            .with_code("method_not_allowed")
    }

    /// 501: the client wants to speak another protocol on this connection.
    pub fn upgrade_unsupported(protocol: &str) -> Self {
        let message = format!(
            "connections cannot be upgraded to {protocol} here; hint: use HTTP with server-sent events, or ask a worker directly"
        );
        Self::new(501, INVALID_REQUEST, message).with_code("upgrade_unsupported")
    }

    /// 413: the body is larger than the server takes.
    pub fn payload_too_large(limit_bytes: usize) -> Self {
        let message = format!(
            "the request body is larger than {limit_bytes} bytes; hint: send a shorter prompt or raise the server's body limit"
        );
        Self::new(413, INVALID_REQUEST, message).with_code("payload_too_large")
    }

    /// 429: the queue is full. SDKs wait and try again.
    pub fn overloaded(waiting: usize) -> Self {
        let message = format!(
            "the server's queue is full ({waiting} requests wait); hint: try again shortly or send fewer requests at once"
        );
        Self::new(429, "rate_limit_error", message).with_code("overloaded")
    }

    /// 500: a fault of this server's own.
    pub fn internal(cause: impl Display) -> Self {
        let message = format!(
            "the server failed: {cause}; hint: try again, and look for this message in the server's log"
        );
        Self::new(500, "server_error", message).with_code("internal_error")
    }

    /// 502: the worker went away, before or after its first byte.
    pub fn worker_lost(worker: &str, cause: impl Display) -> Self {
        let message = format!(
            "worker {worker} was lost: {cause}; hint: send the request again, another worker will take it"
        );
        Self::new(502, UPSTREAM, message).with_code("worker_lost")
    }

    /// 503: no worker can take the request now.
    pub fn no_worker() -> Self {
        let message = "no healthy worker is available; hint: start a worker or look at GET /metrics for why each is out";
        Self::new(503, UNAVAILABLE, message).with_code("no_worker")
    }

    /// 503: the server is on its way down and takes nothing new.
    pub fn draining() -> Self {
        let message = "the server is shutting down; hint: send the request again, to another instance";
        Self::new(503, UNAVAILABLE, message).with_code("draining")
    }

    /// 504: the worker sent nothing for `waited_ms`.
    pub fn worker_timeout(worker: &str, waited_ms: u64) -> Self {
        let message = format!(
            "worker {worker} sent nothing for {waited_ms} ms; hint: send the request again or raise the gateway's timeout"
        );
        Self::new(504, UPSTREAM, message).with_code("worker_timeout")
    }

    /// The JSON body of an answer with this error.
    pub fn into_body(self) -> Vec<u8> {
        crate::to_json(&Envelope { error: self })
    }

    /// The error as one event of a stream already begun. The transport must then be cut: SDKs take a clean end for success.
    pub fn sse_event(&self) -> Vec<u8> {
        crate::sse::event(&Envelope { error: self })
    }

    /// Reads an error answer or the data of an error event; `None` if it is not OpenAI-shaped.
    pub fn from_body(status: u16, body: &[u8]) -> Option<Self> {
        let Envelope::<Self> { error } = serde_json::from_slice(body).ok()?;
        Some(Self { status, ..error })
    }
}

/// Names in one message; the rest is in the list of models.
const MOST_NAMES: usize = 20;

fn listed<S: AsRef<str>>(known: &[S]) -> String {
    let names: Vec<&str> = known.iter().take(MOST_NAMES).map(AsRef::as_ref).collect();
    let rest = if known.len() > MOST_NAMES { ", and others: ask GET /v1/models" } else { "" };
    format!("{}{rest}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constructor_gives_a_hint_and_a_code() {
        let all = [
            ApiError::unsupported("n", "must be 1", "send n requests"),
            ApiError::invalid_json("EOF at line 1 column 3"),
            ApiError::context_length_exceeded(2000, 0, 1024),
            ApiError::model_not_found::<&str>("x", &[]),
            ApiError::model_required(&["a", "b"]),
            ApiError::upgrade_unsupported("websocket"),
            ApiError::not_found("/v2"),
            ApiError::method_not_allowed("GET", "/v1/completions", "POST"),
            ApiError::payload_too_large(10),
            ApiError::overloaded(7),
            ApiError::internal("poisoned"),
            ApiError::worker_lost("w1", "connection reset"),
            ApiError::no_worker(),
            ApiError::draining(),
            ApiError::worker_timeout("w1", 10),
        ];
        for error in all {
            assert!(error.message.contains("; hint: "), "no hint in: {error}");
            assert!(error.code.is_some(), "no code in: {error}");
        }
    }

    #[test]
    fn the_body_has_exactly_the_four_keys_of_openai() {
        let body = ApiError::invalid_param("top_p", "is 3", "send 0 to 1").into_body();
        let expected = r#"{"error":{"message":"'top_p' is 3; hint: send 0 to 1","type":"invalid_request_error","param":"top_p","code":null}}"#;
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn an_error_survives_the_trip_through_a_body_and_a_stream() {
        let error = ApiError::worker_lost("w1", "reset");
        assert_eq!(ApiError::from_body(502, &error.clone().into_body()), Some(error.clone()));
        let event = error.sse_event();
        let data = event.strip_prefix(b"data: ").and_then(|rest| rest.strip_suffix(b"\n\n")).unwrap();
        assert_eq!(ApiError::from_body(502, data), Some(error));
    }
}
