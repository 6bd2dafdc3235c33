//! The indexer's paths, and what their JSON says.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::{Value, json};
use warmroute_openai::ApiError;

use super::answer::Answer;
use super::form::{Question, Registration, Unregistration};
use super::registry::{Listed, Registry, Unknown, Unregistrable};
use crate::admin::Sent;
use crate::front::refusal::Refusal;

/// A million tokens are some seven megabytes of digits.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// A path and what may be done there.
struct Route {
    path: &'static str,
    method: &'static str,
    handlers: fn() -> MethodRouter<Arc<Registry>>,
}

const ROUTES: [Route; 6] = [
    Route { path: "/register", method: "POST", handlers: || post(register) },
    Route { path: "/unregister", method: "POST", handlers: || post(unregister) },
    Route { path: "/query", method: "POST", handlers: || post(query) },
    Route { path: "/workers", method: "GET", handlers: || get(workers) },
    Route { path: "/health", method: "GET", handlers: || get(async || StatusCode::OK) },
    Route { path: "/metrics", method: "GET", handlers: || get(metrics) },
];

pub(super) fn routes(registry: Arc<Registry>) -> Router {
    let add = |router: Router<Arc<Registry>>, Route { path, method, handlers }: &'static Route| {
        let refuse = move |request: Request| async move {
            Refusal::from(ApiError::method_not_allowed(request.method().as_str(), path, method))
        };
        router.route(path, handlers().fallback(refuse))
    };
    ROUTES
        .iter()
        .fold(Router::new(), add)
        .fallback(|request: Request| async move { refuse_path(request.uri().path()) })
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(registry)
}

fn refuse_path(path: &str) -> Refusal {
    let there = ROUTES.map(|route| route.path).join(", ");
    let message = format!("the indexer has nothing at {path}; hint: it has {there}");
    ApiError::new(404, "invalid_request_error", message).with_code("unknown_url").into()
}

async fn register(State(registry): State<Arc<Registry>>, body: Sent) -> Result<Response, Refusal> {
    let publisher: Registration = body.json()?;
    let told = json!({"status": "registered successfully", "instance_id": publisher.instance_id});
    registry.register(publisher)?;
    Ok((StatusCode::CREATED, Json(told)).into_response())
}

async fn unregister(State(registry): State<Arc<Registry>>, body: Sent) -> Result<Json<Value>, Refusal> {
    let gone: Unregistration = body.json()?;
    let removed = registry.unregister(&gone)?;
    let named = removed.iter().map(|(instance, rank)| format!("{instance}|{}|{rank}", gone.group.tenant));
    Ok(Json(json!({"status": "unregistered successfully", "removed_instances": named.collect::<Vec<_>>()})))
}

async fn query(State(registry): State<Arc<Registry>>, body: Sent) -> Result<Json<Answer>, Refusal> {
    let question: Question = body.json()?;
    Ok(Json(registry.query(&question)?.into()))
}

/// A publisher in the list.
#[derive(Serialize)]
struct Shown {
    instance_id: String,
    dp_rank: u32,
    model_name: String,
    tenant_id: String,
    block_size: u32,
    endpoint: String,
    status: &'static str,
    blocks: u32,
    lag_s: f64,
    counts: Value,
}

async fn workers(State(registry): State<Arc<Registry>>) -> Json<Vec<Shown>> {
    let shown = |one: Listed| Shown {
        instance_id: one.place.0.to_string(),
        dp_rank: one.place.1,
        model_name: one.group.model,
        tenant_id: one.group.tenant,
        block_size: one.block.0,
        endpoint: one.endpoint.to_string(),
        status: one.statement.state.name(),
        blocks: one.statement.blocks,
        lag_s: one.statement.lag_micros as f64 / 1e6,
        counts: one
            .statement
            .counts()
            .into_iter()
            .map(|(name, count)| (name.to_owned(), Value::from(count)))
            .collect(),
    };
    Json(registry.list().into_iter().map(shown).collect())
}

/// Few gauges of what is followed; written by hand, since all of them are read off the registry at this moment.
async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let listed = registry.list();
    let sum = |of: fn(&Listed) -> u64| listed.iter().map(of).sum::<u64>();
    let stale = listed.iter().filter(|one| one.statement.state.name() != "live").count();
    let text = format!(
        "# HELP warmroute_indexer_publishers Publishers that are followed\n\
         # TYPE warmroute_indexer_publishers gauge\n\
         warmroute_indexer_publishers {}\n\
         # HELP warmroute_indexer_publishers_not_live Those of them that are silent, replaying or stale\n\
         # TYPE warmroute_indexer_publishers_not_live gauge\n\
         warmroute_indexer_publishers_not_live {stale}\n\
         # HELP warmroute_indexer_blocks Blocks that they hold, counted for each\n\
         # TYPE warmroute_indexer_blocks gauge\n\
         warmroute_indexer_blocks {}\n\
         # HELP warmroute_indexer_gaps Times that events were missing, of those that are followed\n\
         # TYPE warmroute_indexer_gaps gauge\n\
         warmroute_indexer_gaps {}\n",
        listed.len(),
        sum(|one| one.statement.blocks.into()),
        sum(|one| one.statement.gaps),
    );
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

impl From<Unregistrable> for Refusal {
    fn from(error: Unregistrable) -> Self {
        let refused = |status| ApiError::new(status, "invalid_request_error", error.to_string());
        let refused = match error {
            Unregistrable::Taken { .. } => refused(409).with_code("already_registered"),
            Unregistrable::BlockSize { .. } => refused(400).with_code("block_size_mismatch"),
            Unregistrable::Salted => refused(400).with_code("unsupported_parameter"),
            Unregistrable::TooMany => refused(429).with_code("too_many_publishers"),
        };
        refused.into()
    }
}

impl From<Unknown> for Refusal {
    fn from(error: Unknown) -> Self {
        ApiError::new(404, "invalid_request_error", error.to_string()).with_code("not_registered").into()
    }
}
