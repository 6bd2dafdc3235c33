//! The admin API: the fleet, the policy and the decisions, for operators, on a listener of its own.
//!
//! It is not there unless `admin_listen` says where, and never on the listener that clients use. On loopback it is open to whoever is on
//! the machine, until some key is an admin's; elsewhere it always needs such a key. Browsers are kept out: a page of somebody else's
//! could otherwise use the operator's machine to get here.
//!
//! [`ROUTES`] is the one list of what there is; the OpenAPI document is held to it by a test.

mod decisions;
mod explain;
mod fleet;
mod guard;
mod peers;
mod sent;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::CONTENT_TYPE;
use warmroute_openai::ApiError;

use crate::front::refusal::Refusal;
use crate::front::{Gateway, status};
use crate::reload::Reloader;
use crate::sources::Membership;

pub(crate) use self::sent::Sent;

/// What the handlers work on.
pub(crate) struct Admin {
    pub gateway: Arc<Gateway>,
    pub members: Arc<Membership>,
    pub reloader: Arc<Reloader>,
}

type Shared = axum::extract::State<Arc<Admin>>;

/// A path and what may be done there.
struct Route {
    path: &'static str,
    methods: &'static [&'static str],
    handlers: fn() -> MethodRouter<Arc<Admin>>,
}

const ROUTES: &[Route] = &[
    Route { path: "/workers", methods: &["GET", "POST"], handlers: || get(fleet::list).post(fleet::add) },
    Route {
        path: "/workers/{id}",
        methods: &["GET", "PATCH", "DELETE"],
        handlers: || get(fleet::one).patch(fleet::change).delete(fleet::remove),
    },
    Route {
        path: "/policy",
        methods: &["GET", "PUT"],
        handlers: || get(settings::policy).put(settings::set_policy),
    },
    Route { path: "/settings", methods: &["GET"], handlers: || get(settings::all) },
    Route { path: "/reload", methods: &["POST"], handlers: || post(settings::reload) },
    Route { path: "/explain", methods: &["POST"], handlers: || post(explain::explain) },
    Route { path: "/decisions", methods: &["GET"], handlers: || get(decisions::latest) },
    Route { path: "/peers", methods: &["GET"], handlers: || get(peers::list) },
    Route { path: "/peers/feed", methods: &["GET"], handlers: || get(peers::feed) },
    Route { path: "/metrics", methods: &["GET"], handlers: || get(metrics) },
    Route { path: "/openapi.json", methods: &["GET"], handlers: || get(document) },
];

/// The whole API.
pub(crate) fn routes(admin: &Arc<Admin>) -> Router {
    let add = |router: Router<Arc<Admin>>, route: &'static Route| {
        let handlers = (route.handlers)().fallback(move |request| refuse_method(request, route.methods));
        router.route(route.path, handlers)
    };
    ROUTES
        .iter()
        .fold(Router::new(), add)
        .fallback(|request: Request| async move { refuse_path(request.uri().path()) })
        .layer(DefaultBodyLimit::max(admin.gateway.config.now().max_body_bytes))
        .layer(from_fn_with_state(Arc::clone(admin), guard::guard))
        .with_state(Arc::clone(admin))
}

async fn metrics(admin: Shared) -> Response {
    status::metrics(&admin.gateway)
}

async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

async fn refuse_method(request: Request, allowed: &'static [&'static str]) -> Response {
    let error =
        ApiError::method_not_allowed(request.method().as_str(), request.uri().path(), &allowed.join(" or "));
    Refusal::from(error).into_response()
}

fn refuse_path(path: &str) -> Response {
    let there: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    let message = format!("the admin API has nothing at {path}; hint: it has {}", there.join(", "));
    Refusal::from(ApiError::new(404, "invalid_request_error", message).with_code("unknown_url"))
        .into_response()
}
