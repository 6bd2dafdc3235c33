//! What is no work for the model: health, metrics, models, tokens, and the orders to fail.

use std::sync::atomic::Ordering;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::{Method, Request};
use serde_json::{Value, json};
use warmroute_kv::Tokens;
use warmroute_openai::ApiError;
use warmroute_openai::request::{DetokenizeRequest, TokenizeInput, TokenizeRequest};
use warmroute_openai::response::{DetokenizeResponse, ModelCard, ModelList, TokenizeResponse};

use super::faults::FaultRule;
use super::look::{self, Other};
use super::routes::{Answered, Emulator, answer_body, answer_json, whole};
use super::surface::Place;
use crate::engine::EXPOSITION_TYPE;
use crate::server::Caller;

impl Emulator {
    /// What is no work for the model.
    pub(super) async fn tell(&self, place: Place, request: Request<Incoming>, caller: &Caller) -> Answered {
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
                let card =
                    |name: &String| ModelCard::new(name, self.started, longest).with_root(&self.names[0]);
                answer_body(ModelList::new(self.names.iter().map(card).collect()).to_body().into())
            }
            Place::ResetCache => {
                self.engine.clear_cache();
                StatusCode::OK.into_response()
            }
            Place::Tokenize => self.tokenize(&whole(request).await?)?,
            Place::Detokenize => self.detokenize(&whole(request).await?)?,
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

    fn detokenize(&self, body: &[u8]) -> Answered {
        let request = DetokenizeRequest::parse(body)?;
        self.served(request.model.as_deref())?;
        let prompt = String::from_utf8_lossy(&look::text_of(&request.tokens)).into_owned();
        Ok(answer_body(DetokenizeResponse { prompt }.to_body().into()))
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

/// What a worker says while its model loads.
pub(super) fn unready() -> ApiError {
    ApiError::new(
        503,
        "service_unavailable",
        "the worker is not ready; hint: this was asked for, see GET /faults",
    )
    .with_code("not_ready")
}
