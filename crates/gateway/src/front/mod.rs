//! Who asks: the HTTP surface.
//!
//! [`surfaces`] lists what is passed on to workers; the rest is [`pages`]. A request passes through here in this order: [`intake`] reads
//! its body once, [`look`] finds in it what the router needs and [`models`] who serves its model, [`turn`] finds it a place, [`forward`] sends the
//! very same bytes to one worker after another until one begins to answer, [`relay`] passes the answer on piece by piece. [`exchange`] keeps the accounts of all that and closes them however it ends.
//!
//! Everything a client may drop is one future or one body: hyper drops it when the client goes away, which closes the connection to
//! the worker and ends the booking. Nothing of a request runs in a task of its own.

mod budget;
mod exchange;
mod forward;
mod headers;
mod hearing;
mod intake;
mod look;
mod meant;
mod models;
mod outflow;
mod pages;
pub(crate) mod refusal;
mod relay;
mod responses;
mod session;
pub(crate) mod status;
pub(crate) mod surfaces;
mod through;
mod tokens;
mod turn;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Version};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use warmroute_openai::{ApiError, Splice};
use warmroute_routing::Explanation;

pub(crate) use self::budget::Budget;
use self::exchange::Exchange;
use self::forward::{Answer, Outgoing};
use self::hearing::Hearing;
use self::intake::{Limits, Taken};
use self::look::{Asked, Look, Measure};
use self::models::Served;
use self::outflow::Outflow;
use self::refusal::Refusal;
pub(crate) use self::responses::Responses;
use self::surfaces::{Route, Surface};
use self::tokens::Asking;
use self::turn::Pending;
use crate::config::{GatewayConfig, Live};
use crate::core::Core;
use crate::journal::Journal;
use crate::keys::Gate;
use crate::peers::Peers;
use crate::quiet::Inflow;
use crate::sources::catalogue::Among;
use crate::sources::{Fleet, State};
use crate::spans::Spans;
use crate::tls::Shown;
use crate::tokens::Tokenizers;
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
    pub responses: Arc<Responses>,
    pub shown: Arc<Shown>,
    /// What those who use the admin API are shown.
    pub shown_to_operators: Arc<Shown>,
    pub tokenizers: Arc<Tokenizers>,
    pub peers: Arc<Peers>,
    pub spans: Arc<Spans>,
    /// Cancelled when a drain begins.
    pub draining: CancellationToken,
}

/// Answers whatever is asked.
#[derive(Clone)]
pub(crate) struct Front {
    gateway: Arc<Gateway>,
    /// Everything that no worker is asked: what is asked once a second may cost what a router of paths costs.
    pages: TowerToHyperService<Router>,
}

impl Front {
    /// A front of this gateway, with connections to workers of its own.
    pub(crate) fn new(gateway: &Gateway) -> Self {
        let gateway =
            Arc::new(Gateway { upstream: gateway.upstream.beside(&gateway.config.now()), ..gateway.clone() });
        Self { pages: TowerToHyperService::new(pages::routes(&gateway)), gateway }
    }

    /// The answer to one request. Dropping the future drops what the request had begun.
    pub(crate) async fn answer(self, request: http::Request<Inflow>) -> http::Response<Outflow> {
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

    async fn answer_one(self, request: http::Request<Inflow>) -> http::Response<Outflow> {
        match self.gateway.surface(request.method(), request.uri().path()) {
            Some(surface) => pass_on(self.gateway, surface, request).await,
            None => {
                let answered = Box::pin(self.pages.call(request)).await;
                let Ok(response) = answered.map_err(|never: Infallible| match never {});
                response.map(Outflow::Whole)
            }
        }
    }
}

/// One request for a worker. If the client goes away this future is dropped, and with it the attempt and the booking.
async fn pass_on(
    gateway: Arc<Gateway>,
    surface: &'static Surface,
    mut request: http::Request<Inflow>,
) -> http::Response<Outflow> {
    let id = headers::request_id(request.headers());
    let mut exchange = Exchange::new(&gateway, &id, &request);
    request.headers_mut().insert(headers::REQUEST_ID, id.clone());
    let mut response = match gateway.answer(surface, request, &mut exchange).await {
        Ok((answer, hearing)) => relay::respond(answer, hearing, exchange).map(Outflow::Relayed),
        Err(refusal) => exchange.refused(refusal.shaped(surface.errors)).map(Outflow::Whole),
    };
    response.headers_mut().insert(headers::REQUEST_ID, id);
    response
}

/// A body of which nothing is known is held up to this length, so that the request can be tried again elsewhere; longer ones are passed
/// on as they come. Speech of a few seconds and every JSON of the usual kind fit.
const HELD_BYTES: usize = 64 * 1024;

impl Gateway {
    /// The surface that a request belongs to; none if it is ours to answer.
    fn surface(&self, method: &Method, path: &str) -> Option<&'static Surface> {
        // `OPTIONS *` asks the server itself, not a path of it.
        let surface = Surface::taking(method, path).filter(|_| path != "*")?;
        let ours = surface.is_other() && (pages::is_own(path) || !self.config.now().other_paths);
        (!ours).then_some(surface)
    }

    /// From a request to the beginning of some worker's answer.
    async fn answer(
        &self,
        surface: &Surface,
        request: http::Request<Inflow>,
        exchange: &mut Exchange,
    ) -> Result<(Answer, Hearing), Refusal> {
        let (head, body) = request.into_parts();
        exchange.admitted(self.keys.admit(&head.headers)?);
        refuse_upgrade(surface, &head)?;
        let config = Arc::clone(&exchange.config);
        let Taken { held, rest } = take_in(surface, body, &config).await?;
        self.first_probes(config.first_probe_wait_ms.duration()).await;

        let work_began = Instant::now();
        let asked = Asked::read(surface.route, &held)?;
        let Served { model, among, change } = self.serve(surface, &asked, &held, &config)?;
        let among = self.maker(surface, head.uri.path(), &asked).or(among);
        let usage = config.include_usage.then(|| asked.ask_for_usage(surface.route, &held)).flatten();
        let hearing = Hearing::of(surface, &self.responses, usage.is_some());
        let body = changed(&held, change.into_iter().chain(usage).collect());

        let asking = Asking { surface, model: &model, among: &among, headers: &head.headers, body: &body };
        let measure = Measure { counted: self.counted(asking).await, ..measure(surface, &held, &config) };
        let look = look::look(asked, model, &head.headers, measure);
        exchange.seen(&look, held.len());
        let added = (body.len() as u64).wrapping_sub(held.len() as u64);
        let pending = Pending { look: &look, outgoing: outgoing(surface, head, among, body), work_began };
        let answer = match rest {
            None => self.send(pending, exchange).await?,
            Some(mut rest) => {
                rest.length = rest.length.map(|length| length.wrapping_add(added));
                let target = self.settle(&pending, exchange).await?;
                Box::pin(self.pass_through(&pending.outgoing, target, rest, exchange)).await?
            }
        };
        Ok((answer, hearing))
    }

    /// The worker that keeps what a request goes on from, if it is known and takes requests.
    fn maker(&self, surface: &Surface, path: &str, asked: &Asked<'_>) -> Among {
        let id = match surface.route {
            Route::Maker => surface.rest_of(path).split('/').next(),
            _ => asked.previous_response(),
        };
        let worker = self.fleet.worker(self.responses.maker(id?)?)?;
        (worker.state() == State::Up).then(|| Arc::from([worker.id]))
    }

    /// Where a request with this body would go if it came to `path` now. Nothing is sent, booked or learned.
    pub(crate) fn explain(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Explanation, Refusal> {
        let surface = self.surface(&Method::POST, path).ok_or_else(|| ApiError::not_found(path))?;
        let config = self.config.now();
        let asked = Asked::read(surface.route, body)?;
        let Served { model, among, .. } = self.serve(surface, &asked, body, &config)?;
        let among = self.maker(surface, path, &asked).or(among);
        let measure =
            Measure { counted: self.counted_now(surface, &model, body), ..measure(surface, body, &config) };
        let look: Look<'_> = look::look(asked, model, headers, measure);
        Ok(self.core.explain(&look.request(among.as_deref(), &|| look.text()))?)
    }

    /// A request that comes before every worker has been probed once waits for that, so that a gateway started together with its
    /// workers neither refuses its first requests nor sends them all to the worker that was probed first.
    async fn first_probes(&self, at_most: Duration) {
        if !self.fleet.is_settled() {
            let _ = Box::pin(timeout(at_most, self.fleet.settled())).await;
        }
    }
}

/// Reads as much of a body as the surface needs.
async fn take_in(surface: &Surface, body: Inflow, config: &GatewayConfig) -> Result<Taken<Inflow>, ApiError> {
    let limits = Limits { bytes: config.max_body_bytes, time: config.body_timeout_ms.duration() };
    match surface.route {
        Route::Prompt(_) | Route::Load => Ok(Taken { held: intake::read(body, limits).await?, rest: None }),
        Route::Stream | Route::Maker => Box::pin(intake::begin(body, limits, HELD_BYTES)).await,
    }
}

/// What workers get of a body.
fn changed(held: &Bytes, changes: Vec<Splice>) -> Bytes {
    if changes.is_empty() { held.clone() } else { Splice::apply(changes, held).into() }
}

/// The request as workers get it.
fn outgoing(surface: &Surface, mut head: Parts, among: Among, body: Bytes) -> Outgoing {
    headers::prepare_request(&mut head.headers);
    Outgoing {
        among,
        repeatable: surface.is_repeatable(),
        method: head.method,
        path: head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        headers: head.headers,
        body,
    }
}

/// How text is cut into blocks, and bytes that a request by load is taken to cost: text that a model reads, where that is what the body is.
fn measure(surface: &Surface, body: &[u8], config: &GatewayConfig) -> Measure {
    let load_bytes = if surface.route == Route::Load { body.len() } else { 0 };
    Measure { text_block: config.text_block(), load_bytes, counted: None }
}

/// A connection that becomes something else cannot be passed on, and a client that waits for it is better told.
fn refuse_upgrade(surface: &Surface, head: &Parts) -> Result<(), ApiError> {
    if surface.method.is_some() {
        return Ok(());
    }
    if head.method == Method::CONNECT {
        return Err(ApiError::upgrade_unsupported("a tunnel"));
    }
    let wanted =
        head.headers.get(UPGRADE).filter(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    wanted.map_or(Ok(()), |_| Err(ApiError::upgrade_unsupported("WebSocket")))
}
