//! `/peers`: the other gateways of the fleet, and how each is heard; `/peers/feed` is what they read here.

use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::CONTENT_TYPE;
use warmroute_openai::ApiError;

use super::Shared;
use crate::front::refusal::Refusal;
use crate::peers::Feed;

pub(super) async fn list(admin: Shared) -> Response {
    Json(admin.gateway.peers.json()).into_response()
}

/// Lines of JSON without end. One that drains and has nothing under way has nothing to say.
pub(super) async fn feed(admin: Shared) -> Result<Response, Refusal> {
    if admin.gateway.draining.is_cancelled() && admin.gateway.core.in_flight() == 0 {
        return Err(ApiError::draining().into());
    }
    let feed = Feed::new(&admin.gateway);
    let lines = stream::unfold(feed, async |mut feed| Some((Ok::<_, Infallible>(feed.next().await?), feed)));
    Ok(([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
}
