//! `/workers`: who is there, with what the router knows of each; add one, drain it, remove it.

use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use warmroute_openai::ApiError;
use warmroute_routing::{WorkerId, WorkerView};

use super::sent::Sent;
use super::{Admin, Shared};
use crate::config::{Secret, WorkerConfig};
use crate::front::refusal::Refusal;
use crate::sources::kv_events::Objection;
use crate::sources::{Origin, Worker};

/// A worker as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    id: u32,
    worker: String,
    url: String,
    state: &'static str,
    /// `closed`, `half_open` (one request at a time tries it) or `open` (it fails, and gets requests only if all workers do).
    circuit: &'static str,
    /// `agree` or `differ`: whether its last count of a prompt's tokens was the gateway's; `unknown` if nothing was compared.
    tokens: &'static str,
    /// Requests it is given at once, as set or learned.
    seats: Option<u32>,
    /// It goes when its last request has ended.
    leaving: bool,
    /// Who wants it: `settings`, `api` or a source of discovery.
    origins: Vec<String>,
    models: Vec<String>,
    in_flight: u32,
    unread_prompts: u32,
    queued_tokens: u32,
    kv_cache_tokens: Option<u32>,
    kv_cache_fill: Option<f64>,
    prompt_token_seconds: Option<f64>,
    predicted_cached_tokens: u64,
    reported_cached_tokens: u64,
    /// `exact` where its own KV events say what it holds, else `shadow`.
    cache_view: &'static str,
    /// Why its events are not used, though it publishes some.
    cache_view_reason: Option<&'static str>,
    /// `unknown`, `unreported`, `calibrated` or `misleading`.
    prediction: &'static str,
    /// The share of tokens, of those predicted or reported cached of late, on which the two part.
    prediction_gap: Option<f64>,
}

impl Admin {
    fn shown(&self, worker: &Worker, books: &[WorkerView]) -> Shown {
        let known = books.iter().find(|view| view.id == worker.id);
        let view = worker.cache_view();
        let origins = self.members.origins(&worker.url);
        Shown {
            id: worker.id.0,
            worker: worker.name.to_string(),
            url: worker.url.to_string(),
            state: worker.state().as_str(),
            circuit: worker.circuit().as_str(),
            tokens: worker.token_check().as_str(),
            seats: known.and_then(|view| view.seats),
            leaving: worker.leaving(),
            origins: origins.iter().map(origin).collect(),
            models: worker.description().model_ids().into_iter().map(str::to_owned).collect(),
            in_flight: known.map_or(0, |view| view.in_flight),
            unread_prompts: known.map_or(0, |view| view.unread),
            queued_tokens: known.map_or(0, |view| view.queued.0),
            kv_cache_tokens: known.and_then(|view| view.capacity).map(|tokens| tokens.0),
            kv_cache_fill: known.map(|view| view.fill),
            prompt_token_seconds: known.map(|view| view.token_s),
            predicted_cached_tokens: known.map_or(0, |view| view.predicted_tokens),
            reported_cached_tokens: known.map_or(0, |view| view.reported_tokens),
            cache_view: if view.exact { "exact" } else { "shadow" },
            cache_view_reason: view.objection.map(Objection::name),
            prediction: view.honesty.name(),
            prediction_gap: view.gap,
        }
    }

    fn answer(&self, status: StatusCode, worker: &Worker) -> Response {
        (status, Json(self.shown(worker, &self.gateway.core.workers()))).into_response()
    }

    /// The worker of an id, or of a name like `10.0.0.1:8000`.
    fn worker(&self, id: &str) -> Result<Arc<Worker>, ApiError> {
        let workers = self.gateway.fleet.workers();
        let found = match id.parse() {
            Ok(number) => workers.iter().find(|worker| worker.id == WorkerId(number)),
            // The one that stays comes before its namesake that is leaving.
            Err(_) => {
                workers.iter().filter(|worker| *worker.name == *id).min_by_key(|worker| worker.leaving())
            }
        };
        let missing = || {
            let message = format!("there is no worker `{id}`; hint: GET /workers lists ids and names");
            ApiError::new(404, "invalid_request_error", message).with_code("worker_not_found")
        };
        found.map(Arc::clone).ok_or_else(missing)
    }
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Settings => "settings".to_owned(),
        Origin::Api => "api".to_owned(),
        Origin::Discovered(source) => source.to_string(),
    }
}

pub(super) async fn list(admin: Shared) -> Response {
    let books = admin.gateway.core.workers();
    let workers = admin.gateway.fleet.workers();
    let shown: Vec<Shown> = workers.iter().map(|worker| admin.shown(worker, &books)).collect();
    Json(serde_json::json!({ "workers": shown })).into_response()
}

pub(super) async fn one(admin: Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    Ok(admin.answer(StatusCode::OK, &*admin.worker(&id)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    url: String,
    api_key: Option<String>,
}

pub(super) async fn add(admin: Shared, sent: Sent) -> Result<Response, Refusal> {
    let new: New = sent.json()?;
    let mut config: WorkerConfig =
        new.url.parse().map_err(|error| ApiError::invalid_request(format!("{error}")).with_param("url"))?;
    let secret = |text: String| {
        text.parse::<Secret>()
            .map_err(|why| ApiError::invalid_param("api_key", why, "send the key, or env:NAME"))
    };
    config.api_key = new.api_key.map(secret).transpose()?;
    let taken = || {
        let message = format!("worker {} is there already; hint: PATCH or DELETE it by its name", config.url);
        ApiError::new(409, "invalid_request_error", message).with_code("worker_exists")
    };
    let worker = admin.members.add(&config).ok_or_else(taken)?;
    Ok(admin.answer(StatusCode::CREATED, &worker))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    draining: bool,
}

pub(super) async fn change(admin: Shared, Path(id): Path<String>, sent: Sent) -> Result<Response, Refusal> {
    let worker = admin.worker(&id)?;
    let change: Change = sent.json()?;
    if !admin.members.set_draining(worker.id, change.draining) {
        let message =
            format!("worker {} is leaving; hint: POST /workers adds one at its address", worker.name);
        return Err(ApiError::new(409, "invalid_request_error", message).with_code("worker_leaving").into());
    }
    Ok(admin.answer(StatusCode::OK, &worker))
}

/// Accepted and not done: it goes with its last request.
pub(super) async fn remove(admin: Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    let worker = admin.worker(&id)?;
    admin.members.remove(worker.id);
    Ok(admin.answer(StatusCode::ACCEPTED, &worker))
}
