//! Who asks: the HTTP surface.
//!
//! A completion request passes through here in the order of the modules: [`intake`] reads its body once, [`look`] finds in it what
//! the router needs, [`forward`] sends the very same bytes to one worker after another until one begins to answer, [`relay`]
//! passes the answer on piece by piece. [`exchange`] keeps the accounts of all that and closes them however it ends.
//!
//! Everything a client may drop is one future or one body: hyper drops it when the client goes away, which closes the connection to
//! the worker and ends the booking. Nothing of a request runs in a task of its own.

mod budget;
mod exchange;
mod forward;
mod headers;
mod intake;
mod look;
mod outflow;
pub(crate) mod refusal;
mod relay;
mod session;
pub(crate) mod status;
mod turn;

pub(crate) use self::budget::Budget;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get};
use http::header::CONNECTION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Version};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use warmroute_openai::ApiError;
use warmroute_routing::Explanation;

use self::exchange::Exchange;
use self::forward::{Answer, Outgoing};
use self::look::Surface;
use self::outflow::Outflow;
use self::refusal::Refusal;
use self::turn::Asked;
use crate::config::Live;
use crate::core::Core;
use crate::journal::Journal;
use crate::keys::Gate;
use crate::sources::Fleet;
use crate::upstream::Upstream;

/// What every request needs.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub core: Arc<Core>,
    pub fleet: Arc<Fleet>,
    pub upstream: Upstream,
    pub config: Arc<Live>,
    pub keys: Arc<Gate>,
    pub journal: Arc<Journal>,
    pub budget: Arc<Budget>,
    /// Cancelled when a drain begins.
    pub draining: CancellationToken,
}

/// Answers whatever is asked.
#[derive(Clone)]
pub(crate) struct Front {
    gateway: Arc<Gateway>,
    /// Everything but completions: what is asked once a second may cost what a router of paths costs.
    others: TowerToHyperService<Router>,
}

impl Front {
    /// A front of this gateway, with connections to workers of its own.
    pub(crate) fn new(gateway: &Gateway) -> Self {
        let gateway = Arc::new(Gateway { upstream: Upstream::new(&gateway.config.now()), ..gateway.clone() });
        Self { others: TowerToHyperService::new(routes(&gateway)), gateway }
    }

    /// The answer to one request. Dropping the future drops what the request had begun.
    pub(crate) async fn answer(self, request: http::Request<Incoming>) -> http::Response<Outflow> {
        // HTTP/2 has another way to say so, which the connection uses by itself when the listener closes.
        let gateway = Arc::clone(&self.gateway);
        let says_close = request.version() < Version::HTTP_2;
        let mut response = self.answer_one(request).await;
        if says_close && gateway.draining.is_cancelled() {
            // Clients that keep connections open go elsewhere before this gateway has gone.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn answer_one(self, request: http::Request<Incoming>) -> http::Response<Outflow> {
        match Surface::at(request.uri().path()) {
            Some(surface) if request.method() == Method::POST => {
                complete(self.gateway, surface, request).await
            }
            _ => {
                let Ok(response) =
                    self.others.call(request).await.map_err(|never: Infallible| match never {});
                response.map(Outflow::Whole)
            }
        }
    }
}

/// The routes of the gateway, but for the completions themselves.
fn routes(gateway: &Arc<Gateway>) -> Router {
    let shown = |show: fn(&Gateway) -> Response| -> MethodRouter {
        let gateway = Arc::clone(gateway);
        // Clients are to see OpenAI's error shape whatever they do wrong, so the fallback is ours too.
        get(move || std::future::ready(show(&gateway))).fallback(|request| refuse_method(request, "GET"))
    };
    let models = {
        let gateway = Arc::clone(gateway);
        get(move |headers: HeaderMap| std::future::ready(known_models(&gateway, &headers)))
            .fallback(|request| refuse_method(request, "GET"))
    };
    let completions = || any(|request| refuse_method(request, "POST"));
    Surface::ALL
        .iter()
        .fold(Router::new(), |router, surface| router.route(surface.path(), completions()))
        .route("/v1/models", models)
        .route("/health", shown(status::health))
        .route("/livez", shown(status::live))
        .route("/readyz", shown(status::ready))
        .route("/metrics", shown(status::metrics))
        .fallback(|request: Request| async move {
            Refusal::from(ApiError::not_found(request.uri().path())).into_response()
        })
}

/// The models, for whoever may ask them anything.
fn known_models(gateway: &Gateway, headers: &HeaderMap) -> Response {
    match gateway.keys.admit(headers) {
        Ok(_) => status::models(gateway),
        Err(limited) => Refusal::from(limited).into_response(),
    }
}

async fn refuse_method(request: Request, allowed: &'static str) -> Response {
    let error = ApiError::method_not_allowed(request.method().as_str(), request.uri().path(), allowed);
    Refusal::from(error).into_response()
}

/// One completion request. If the client goes away this future is dropped, and with it the attempt and the booking.
async fn complete(
    gateway: Arc<Gateway>,
    surface: Surface,
    mut request: http::Request<Incoming>,
) -> http::Response<Outflow> {
    let id = headers::request_id(request.headers());
    let mut exchange = Exchange::new(&gateway, &id, request.method(), request.uri().path());
    request.headers_mut().insert(headers::REQUEST_ID, id.clone());
    let mut response = match gateway.answer(surface, request, &mut exchange).await {
        Ok(answer) => relay::respond(answer, exchange, gateway.config.now().idle_timeout_ms.duration())
            .map(Outflow::Relayed),
        Err(refusal) => exchange.refused(refusal).map(Outflow::Whole),
    };
    response.headers_mut().insert(headers::REQUEST_ID, id);
    response
}

impl Gateway {
    /// From a request to the beginning of some worker's answer.
    async fn answer(
        &self,
        surface: Surface,
        request: http::Request<Incoming>,
        exchange: &mut Exchange,
    ) -> Result<Answer, Refusal> {
        let (mut head, body) = request.into_parts();
        exchange.admitted(self.keys.admit(&head.headers)?);
        let config = self.config.now();
        let limits = intake::Limits { bytes: config.max_body_bytes, time: config.body_timeout_ms.duration() };
        let body = intake::read(body, limits).await?;
        self.first_probes(config.first_probe_wait_ms.duration()).await;

        let work_began = Instant::now();
        let look = look::look(surface, &head.headers, &body, config.text_chunk_bytes)?;
        exchange.seen(&look, body.len());
        headers::prepare_request(&mut head.headers);
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let outgoing = Outgoing { path, headers: head.headers, body: body.clone() };
        self.send(Asked { look: &look, outgoing, work_began }, exchange).await
    }

    /// Where a request with this body would go if it came to `path` now. Nothing is sent, booked or learned.
    pub(crate) fn explain(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Explanation, Refusal> {
        let surface = Surface::at(path).ok_or_else(|| ApiError::not_found(path))?;
        let look = look::look(surface, headers, body, self.config.now().text_chunk_bytes)?;
        Ok(self.core.explain(&look.request(&|| look.text()))?)
    }

    /// A request that comes before every worker has been probed once waits for that, so that a gateway started together with its
    /// workers neither refuses its first requests nor sends them all to the worker that was probed first.
    async fn first_probes(&self, at_most: Duration) {
        let _ = timeout(at_most, self.fleet.settled()).await;
    }
}
