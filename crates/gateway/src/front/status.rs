//! What the gateway says of itself and of its fleet: liveness, readiness, health by worker, metrics.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::Gateway;
use crate::show::metrics;
use crate::sources::State;

/// The process runs: restart it only if this fails.
pub(super) fn live(_: &Gateway) -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// Whether to send requests here: not while draining, and not before a worker is up.
pub(super) fn ready(gateway: &Gateway) -> Response {
    let (status, word) = match (gateway.draining.is_cancelled(), gateway.fleet.any_up()) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "no healthy worker"),
        (false, true) => (StatusCode::OK, "ok"),
    };
    (status, Json(json!({"status": word}))).into_response()
}

/// The fleet, worker by worker; 200 if any of them is up.
pub(super) fn health(gateway: &Gateway) -> Response {
    let books = gateway.core.workers();
    let workers: Vec<Value> = gateway
        .fleet
        .workers()
        .iter()
        .map(|worker| {
            let booked = books.iter().find(|view| view.id == worker.id);
            let description = worker.description();
            json!({
                "worker": *worker.name,
                "state": worker.state().as_str(),
                "circuit": worker.circuit().as_str(),
                "in_flight": booked.map_or(0, |view| view.in_flight),
                "kv_cache_tokens": description.capacity.map(|tokens| tokens.0),
                "models": description.model_ids(),
            })
        })
        .collect();
    let (status, word) = match gateway.fleet.any_up() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "no healthy worker"),
    };
    (status, Json(json!({"status": word, "workers": workers}))).into_response()
}

/// All metrics; gauges are brought up to date as they are read.
pub(crate) fn metrics(gateway: &Gateway) -> Response {
    let books = gateway.core.workers();
    for worker in gateway.fleet.workers().iter() {
        let booked = books.iter().find(|view| view.id == worker.id);
        gateway.core.metrics.worker(&worker.name, worker.state() == State::Up, booked);
        gateway.core.metrics.circuit(&worker.name, worker.circuit());
        gateway.core.metrics.cache_view(&worker.name, &worker.cache_view());
        if let Some(account) = worker.kv_account() {
            gateway.core.metrics.kv(&worker.name, &account.statement());
        }
        // It may have been removed since the list was read; its gauges must not come back for good.
        if gateway.fleet.worker(worker.id).is_none() {
            gateway.fleet.forget(&gateway.core.metrics, worker);
        }
    }
    let core = &gateway.core;
    core.metrics.waiting(core.queues.waiting());
    core.metrics.index(core.indexed_blocks(), core.index_bytes(), core.router_bytes());
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], gateway.core.metrics.encode()).into_response()
}
