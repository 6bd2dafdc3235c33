//! Passes a worker's answer on to the client, frame by frame as it comes.
//!
//! Nothing is parsed, joined or copied on the way, but for the last few kilobytes, from which the usage is read at the end. Back-pressure
//! is hyper's: the worker's connection is read only when the client's can take more. If the worker dies or stalls in the middle, a
//! stream gets an error event and then every answer is *cut*, never ended: OpenAI's SDKs take a clean end for success even
//! without `[DONE]`. Dropping the body, as hyper does when the client goes away, closes the worker's connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use warmroute_openai::ApiError;

use super::exchange::Exchange;
use super::forward::Answer;
use super::hearing::Hearing;
use super::{headers, refusal};
use crate::upstream::Incoming;

/// The answer as the client gets it.
pub(super) fn respond(answer: Answer, mut hearing: Hearing, exchange: Exchange) -> Response<Box<Relay>> {
    let Answer { mut head, first, rest } = answer;
    headers::strip_hop_by_hop(&mut head.headers);
    let stream = is_stream(&head.headers);
    if stream {
        head.headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        head.headers.entry(headers::ACCEL_BUFFERING).or_insert(HeaderValue::from_static("no"));
    }
    if head.status.is_server_error() && exchange.attempts() > 1 {
        head.headers.insert(headers::SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    if !(stream && rest.size_hint().exact().is_none()) {
        hearing.leave_whole();
    }
    exchange.explain(&mut head.headers);
    let (status, ends) = (head.status.as_u16(), exchange.ends());
    let idle = exchange.config.idle_timeout_ms.duration();
    // Room first: what is made before it is copied into it.
    let mut relay = Box::write(
        Box::new_uninit(),
        Relay {
            first,
            rest,
            exchange,
            status,
            stream,
            before_token: stream && head.status.is_success(),
            with_token: false,
            in_event: false,
            hearing,
            patience: Patience::new(idle, ends),
            phase: Phase::Passing,
        },
    );
    if relay.first.is_none() {
        relay.end(); // hyper does not poll a body that is empty to begin with
    }
    Response::from_parts(head, relay)
}

fn is_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// Time for the last piece and the error event to leave before the cut, which discards what hyper has not sent yet.
const LINGER: Duration = Duration::from_millis(20);

/// A body that passes a worker's body on and keeps the exchange open until its end.
pub(crate) struct Relay {
    first: Option<Frame<Bytes>>,
    rest: Incoming,
    exchange: Exchange,
    status: u16,
    stream: bool,
    hearing: Hearing,
    /// It is a stream, and only comments have come so far.
    before_token: bool,
    /// The first token came with the end.
    with_token: bool,
    /// The client has the beginning of an event whose end has not come.
    in_event: bool,
    patience: Patience,
    phase: Phase,
}

/// A limit to waiting that is renewed with every piece. The runtime's timer is set when there is something to wait for, and set again
/// only when it rings: most pieces never touch it.
struct Patience {
    span: Duration,
    /// When it is over; none until there is something to wait for, which spares most pieces a look at the clock.
    ends: Option<Instant>,
    /// It is not renewed beyond this.
    last: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(span: Duration, last: Option<Instant>) -> Self {
        Self { span, ends: None, last, timer: None }
    }

    fn renew(&mut self) {
        self.ends = None;
    }

    /// Whether it was the last moment that has come.
    fn is_over(&self) -> bool {
        self.last.is_some() && self.last == self.ends
    }

    /// Whether there is time left; if so, the task is woken when there is none.
    fn lasts(&mut self, cx: &mut Context<'_>) -> bool {
        let from_now = || {
            let ends = Instant::now() + self.span;
            self.last.map_or(ends, |last| last.min(ends))
        };
        let ends = *self.ends.get_or_insert_with(from_now);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(ends)));
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= ends {
                return false;
            }
            timer.as_mut().reset(ends);
        }
        true
    }
}

enum Phase {
    Passing,
    /// The last of it is on its way; then the body is cut with this error.
    Cutting(ApiError),
    Ended,
}

impl Relay {
    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let last = self.rest.is_end_stream();
        let worker = self.exchange.worker_id();
        let frame = frame.map_data(|data| self.hearing.hear(data, last, worker));
        if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
            self.exchange.passed(data.len());
            self.in_event = !data.ends_with(b"\n\n");
            // vLLM can send comments to keep a waiting client's connection open.
            if self.before_token && !data.starts_with(b":") {
                self.before_token = false;
                self.with_token = last;
                if !last {
                    self.exchange.first_token();
                }
            }
        }
        match last {
            true => self.end(), // hyper polls no further when it knows the length
            false => self.patience.renew(),
        }
        frame
    }

    /// The answer is complete.
    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.exchange.finished(self.status, self.hearing.usage(), self.with_token);
    }

    /// The worker is lost in the middle of its answer: say so where the format has words for it, then cut.
    fn fail(
        &mut self,
        error: ApiError,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ApiError>>> {
        tracing::warn!(%error, "an answer broke off");
        self.exchange.failed(error.status);
        let unknown_length = self.rest.size_hint().exact().is_none();
        self.patience = Patience::new(LINGER, None);
        if !(self.stream && unknown_length) {
            self.phase = Phase::Cutting(error);
            return self.cut(cx);
        }
        // An empty line ends whatever event was half sent; the client may fail to parse that one, which is an error too.
        let mut event = if self.in_event { b"\n\n".to_vec() } else { Vec::new() };
        event.extend_from_slice(&error.sse_event_in(self.hearing.errors));
        self.phase = Phase::Cutting(error);
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }

    /// Cuts the answer once what was passed on has had time to leave.
    fn cut(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ApiError>>> {
        if self.patience.lasts(cx) {
            return Poll::Pending;
        }
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Cutting(error) => Poll::Ready(Some(Err(error))),
            Phase::Passing | Phase::Ended => Poll::Ready(None),
        }
    }
}

impl http_body::Body for Relay {
    type Data = Bytes;
    type Error = ApiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ApiError>>> {
        let this = &mut *self;
        match &this.phase {
            Phase::Passing => {}
            Phase::Ended => return Poll::Ready(None),
            Phase::Cutting(_) => return this.cut(cx),
        }
        if let Some(frame) = this.first.take() {
            return Poll::Ready(Some(Ok(this.pass(frame))));
        }
        match Pin::new(&mut this.rest).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(this.pass(frame)))),
            Poll::Ready(Some(Err(error))) => {
                let error = ApiError::worker_lost(this.exchange.worker_name(), &error);
                this.fail(error, cx)
            }
            Poll::Ready(None) => {
                this.end();
                let left = this.hearing.left();
                Poll::Ready((!left.is_empty()).then(|| Ok(Frame::data(left))))
            }
            Poll::Pending => {
                if this.patience.lasts(cx) {
                    return Poll::Pending;
                }
                let error = match this.patience.is_over() {
                    true => refusal::too_long(this.exchange.limit()),
                    false => {
                        let waited_ms = u64::try_from(this.patience.span.as_millis()).unwrap_or(u64::MAX);
                        ApiError::worker_timeout(this.exchange.worker_name(), waited_ms)
                    }
                };
                this.fail(error, cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        let rest = self.rest.size_hint();
        let mut whole = SizeHint::new();
        whole.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            whole.set_upper(upper + first);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_that_a_client_takes_over_a_piece_is_not_the_workers() {
        let span = Duration::from_secs(1);
        let mut patience = Patience::new(span, None);
        let lasts =
            async |patience: &mut Patience| std::future::poll_fn(|cx| Poll::Ready(patience.lasts(cx))).await;
        assert!(lasts(&mut patience).await);
        patience.renew();
        // Nobody asks for the next piece meanwhile.
        advance(2 * span).await;
        assert!(lasts(&mut patience).await);
        advance(span / 2).await;
        assert!(lasts(&mut patience).await);
        advance(span).await;
        assert!(!lasts(&mut patience).await);
    }
}
