//! `/decisions`: the latest requests, newest first: where each went, why, and what became of it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::sent::Asked;
use crate::journal::{Entry, Line};

/// As many are shown if nobody says how many.
const USUAL: usize = 100;

#[derive(Deserialize)]
pub(super) struct Wanted {
    limit: Option<usize>,
    request_id: Option<String>,
    worker: Option<String>,
    key: Option<String>,
    status: Option<u16>,
}

impl Wanted {
    fn matches(&self, entry: &Entry) -> bool {
        let same =
            |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        same(&self.request_id, Some(entry.id()))
            && same(&self.worker, entry.worker.as_deref())
            && same(&self.key, entry.key.as_deref())
            && self.status.is_none_or(|status| status == entry.status)
    }
}

pub(super) async fn latest(admin: Shared, Asked(wanted): Asked<Wanted>) -> Response {
    let entries = admin.gateway.journal.recent(wanted.limit.unwrap_or(USUAL), |entry| wanted.matches(entry));
    let lines: Vec<Line<'_>> = entries.iter().map(|entry| Line::from(&**entry)).collect();
    Json(json!({ "decisions": lines })).into_response()
}
