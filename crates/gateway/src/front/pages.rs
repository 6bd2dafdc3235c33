//! What the gateway answers itself: its state, the fleet's models, and what is wrong with all else that no worker is asked.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get};
use http::HeaderMap;
use warmroute_openai::ApiError;

use super::Gateway;
use super::models;
use super::refusal::Refusal;
use super::status;
use super::surfaces::SURFACES;

/// A page, and what shows it.
type Page = (&'static str, fn(&Gateway) -> Response);

/// The pages that anybody may see.
const PAGES: [Page; 4] = [
    ("/health", status::health),
    ("/livez", status::live),
    ("/readyz", status::ready),
    ("/metrics", status::metrics),
];

/// The fleet's models, for whoever may ask them anything.
const MODELS: &str = "/v1/models";

/// Whether this path is the gateway's own, and no worker's.
pub(super) fn is_own(path: &str) -> bool {
    let below_models =
        || path.strip_prefix(MODELS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    PAGES.iter().any(|(own, _)| *own == path) || below_models()
}

/// Answers for every path that is not passed on.
pub(super) fn routes(gateway: &Arc<Gateway>) -> Router {
    let shown = |show: fn(&Gateway) -> Response| -> MethodRouter {
        let gateway = Arc::clone(gateway);
        get_only(get(move || std::future::ready(show(&gateway))))
    };
    let (all, each) = (Arc::clone(gateway), Arc::clone(gateway));
    let list = get(move |headers: HeaderMap| std::future::ready(admitted(&all, &headers, models::list)));
    let one = get(move |Path(id): Path<String>, headers: HeaderMap| {
        std::future::ready(admitted(&each, &headers, |gateway| models::one(gateway, &id)))
    });
    let mut router =
        Router::new().route(MODELS, get_only(list)).route(&format!("{MODELS}/{{*id}}"), get_only(one));
    for (path, show) in PAGES {
        router = router.route(path, shown(show));
    }
    for surface in SURFACES.iter().filter(|surface| surface.is_exact()) {
        router = router.route(surface.path, any(|request| refuse_method(request, "POST")));
    }
    router.fallback(|request: Request| async move {
        Refusal::from(ApiError::not_found(request.uri().path())).into_response()
    })
}

/// Clients are to see OpenAI's error shape whatever they do wrong, so the fallback is ours too.
fn get_only(route: MethodRouter) -> MethodRouter {
    route.fallback(|request| refuse_method(request, "GET"))
}

fn admitted(gateway: &Gateway, headers: &HeaderMap, show: impl FnOnce(&Gateway) -> Response) -> Response {
    match gateway.keys.admit(headers) {
        Ok(_) => show(gateway),
        Err(limited) => Refusal::from(limited).into_response(),
    }
}

async fn refuse_method(request: Request, allowed: &'static str) -> Response {
    let error = ApiError::method_not_allowed(request.method().as_str(), request.uri().path(), allowed);
    Refusal::from(error).into_response()
}
