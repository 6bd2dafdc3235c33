//! Traces: what a request's time went into, told to a collector that speaks OTLP (OpenTelemetry's protocol, over HTTP as JSON).
//!
//! A [`Trace`] is filled in while its request is under way and handed over once, when that is over; handing over never waits. Nothing here
//! runs, and nothing is allocated, where `otlp_endpoint` is off. OTLP's JSON is spoken instead of its protobuf because it needs no crate
//! that is not here already.

mod context;
mod encode;
mod export;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;
use uuid::Uuid;
use warmroute_routing::Decision;

use self::context::Context;
pub(crate) use self::export::Exporter;
use crate::config::GatewayConfig;
use crate::journal::Entry;

/// Who asks, by W3C's Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Requests that wait to be told of. More are dropped and counted, so that a slow collector delays no request; a few megabytes.
const MOST_WAITING: usize = 4_096;

/// Where traces go; begins one for each request that is to be told of.
#[derive(Default)]
pub(crate) struct Spans {
    to: Option<Sender<Told>>,
    /// Share of the requests that bring no context of their own.
    percent: u64,
    begun: AtomicU64,
}

/// What becomes of a request, and all that was written down of it.
pub(crate) struct Told {
    trace: Trace,
    entry: Arc<Entry>,
}

impl Spans {
    /// As the settings want it, and what is to be exported if anything is.
    pub(crate) fn new(config: &GatewayConfig) -> (Self, Option<Receiver<Told>>) {
        if config.otlp_endpoint.0.is_none() {
            return (Self::default(), None);
        }
        let (to, told) = channel(MOST_WAITING);
        let percent = u64::from(config.otlp_percent.min(100));
        (Self { to: Some(to), percent, begun: AtomicU64::new(0) }, Some(told))
    }

    /// The trace of a request that comes with these headers, if it is to have one: its client's context decides, else our share.
    pub(crate) fn begin(self: &Arc<Self>, headers: &HeaderMap) -> Option<Box<Trace>> {
        self.to.as_ref()?;
        let context = match headers.get(TRACEPARENT).and_then(Context::read) {
            Some(context) => context.sampled.then_some(context)?,
            None => {
                // Of each hundred in a row, the first so many.
                let number = self.begun.fetch_add(1, Ordering::Relaxed);
                (number % 100 < self.percent).then(|| Context::new(Uuid::now_v7().as_u128()))?
            }
        };
        // The lower half of such an id is random.
        let root = (Uuid::now_v7().as_u128() as u64).max(1);
        Some(Box::new(Trace { to: Arc::clone(self), context, root, spans: Vec::with_capacity(4) }))
    }
}

/// What is known of one request's time so far.
pub(crate) struct Trace {
    /// Where it goes when its request is over.
    to: Arc<Spans>,
    context: Context,
    /// The span of the whole request.
    root: u64,
    /// Those within it, in the order in which they ended.
    spans: Vec<Span>,
}

/// A part of a request's time.
struct Span {
    name: &'static str,
    /// Whether somebody else was asked.
    outwards: bool,
    began: Instant,
    ended: Instant,
    attributes: Vec<(&'static str, Value)>,
    failed: Option<String>,
}

/// What an attribute says.
enum Value {
    Text(Cow<'static, str>),
    Number(u64),
}

impl Trace {
    /// The request is over; `false` if nobody could take what there is to tell.
    pub(crate) fn end(self, entry: Arc<Entry>) -> bool {
        let to = Arc::clone(&self.to);
        to.to.as_ref().is_none_or(|to| to.try_send(Told { trace: self, entry }).is_ok())
    }

    /// The id of the span that ends next.
    fn next(&self) -> u64 {
        self.id(self.spans.len())
    }

    fn id(&self, index: usize) -> u64 {
        self.root.wrapping_add(1 + index as u64).max(1)
    }

    /// Headers that tell a worker whose attempt it is; the span of that attempt is the next that ends.
    pub(crate) fn onwards(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.context.write(self.next()));
    }

    /// Its place was found. The look that found it is the decision; all before was waiting.
    pub(crate) fn placed(&mut self, timing: &Timing, decision: &Decision) {
        let (began, looked, ended) = (timing.began, *timing.looked.lock(), Instant::now());
        if timing.waited.load(Ordering::Relaxed) {
            self.push("queue", began, looked);
        }
        let span = self.push("decide", looked, ended);
        span.attributes = vec![
            ("warmroute.policy", Value::Text(decision.policy.into())),
            ("warmroute.reason", Value::Text(decision.reason.as_str().into())),
            ("warmroute.prompt_tokens", Value::Number(decision.prompt.0.into())),
            ("warmroute.overlap_tokens", Value::Number(decision.overlap.0.into())),
        ];
    }

    /// A worker was asked, and began to answer with this status or did not.
    pub(crate) fn attempted(&mut self, began: Instant, worker: &str, became: Result<u16, String>) {
        let span = self.push("attempt", began, Instant::now());
        span.outwards = true;
        span.attributes.push(("warmroute.worker", Value::Text(worker.to_owned().into())));
        match became {
            Ok(status) => span.attributes.push(("http.response.status_code", Value::Number(status.into()))),
            Err(why) => span.failed = Some(why),
        }
    }

    fn push(&mut self, name: &'static str, began: Instant, ended: Instant) -> &mut Span {
        let span = Span { name, outwards: false, began, ended, attributes: Vec::new(), failed: None };
        self.spans.push(span);
        self.spans.last_mut().expect("one was just put there")
    }
}

/// When a place was looked for.
pub(crate) struct Timing {
    began: Instant,
    /// Guards the time of the last look; held to set it.
    looked: Mutex<Instant>,
    waited: AtomicBool,
}

impl Timing {
    pub(crate) fn begin() -> Self {
        let began = Instant::now();
        Self { began, looked: Mutex::new(began), waited: AtomicBool::new(false) }
    }

    /// Another look begins.
    pub(crate) fn looks(&self) {
        *self.looked.lock() = Instant::now();
    }

    /// There was no place at once.
    pub(crate) fn waits(&self) {
        self.waited.store(true, Ordering::Relaxed);
    }
}

/// A value that only the gateway makes.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("hexadecimal digits and dashes are visible ASCII")
}
