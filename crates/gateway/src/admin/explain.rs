//! `/explain`: where would this request go, and what speaks for and against every worker? Nothing is sent, booked or learned.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use warmroute_routing::policy::Candidate;
use warmroute_routing::{Explanation, WorkerId};

use super::sent::{Asked, Sent};
use super::{Admin, Shared};
use crate::front::refusal::Refusal;

#[derive(Deserialize)]
pub(super) struct Where {
    /// Where the request would have come to; without it, told from the body.
    path: Option<String>,
}

pub(super) async fn explain(
    admin: Shared,
    Asked(asked): Asked<Where>,
    headers: HeaderMap,
    Sent(body): Sent,
) -> Result<Response, Refusal> {
    let path = asked.path.unwrap_or_else(|| likely_path(&body).to_owned());
    let told = admin.gateway.explain(&path, &headers, &body)?;
    Ok(Json(admin.told(&path, &told)).into_response())
}

/// A chat has messages, a completion has not.
fn likely_path(body: &[u8]) -> &'static str {
    let chat = serde_json::from_slice::<Value>(body).is_ok_and(|body| body.get("messages").is_some());
    if chat { "/v1/chat/completions" } else { "/v1/completions" }
}

impl Admin {
    fn told(&self, path: &str, told: &Explanation) -> Value {
        let fate = told.fate;
        json!({
            "path": path,
            "policy": told.policy,
            "worker": self.name(told.worker),
            "reason": told.reason.as_str(),
            "fate": {
                "hit": fate.hit.0,
                "lost_to_load": fate.lost_to_load.0,
                "lost_to_eviction": fate.lost_to_eviction.0,
                "unseen": fate.unseen.0,
            },
            "fallbacks": told.fallbacks.iter().map(|id| self.name(*id)).collect::<Vec<_>>(),
            "candidates": told.candidates.iter().map(|one| self.candidate(one)).collect::<Vec<_>>(),
        })
    }

    fn candidate(&self, one: &Candidate) -> Value {
        json!({
            "worker": self.name(one.worker),
            "overlap_tokens": one.overlap.0,
            "uncached_tokens": one.uncached.0,
            "wait_s": one.wait_s,
            "read_s": f64::from(one.uncached.0) * one.token_s,
            "in_flight": one.in_flight,
            "unread_prompts": one.unread,
            "queued_tokens": one.queued.0,
            "active_tokens": one.active.0,
            "kv_cache_tokens": one.capacity.map(|tokens| tokens.0),
            "kv_cache_fill": one.fill,
        })
    }

    fn name(&self, id: WorkerId) -> Option<String> {
        self.gateway.fleet.worker(id).map(|worker| worker.name.to_string())
    }
}
