//! One bounded read of a request's body into one piece of memory, or of its beginning where the rest is to be passed on as it comes.
//!
//! A body that arrives in one piece, as most do, is not copied. A longer one is gathered into a buffer of its declared length, which
//! grows only with what really came: a lying `content-length` costs the liar's bandwidth, not our memory.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::time::{Sleep, sleep, timeout};
use warmroute_openai::ApiError;

/// How large a body may be and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub bytes: usize,
    pub time: Duration,
}

/// At most this much is set aside on the word of a `content-length` alone.
const TRUSTED_BYTES: usize = 256 * 1024;

/// A body of which as much has been read as is needed to send the request somewhere.
pub(super) struct Taken<B> {
    /// What has been read.
    pub held: Bytes,
    /// What has not, if anything.
    pub rest: Option<Rest<B>>,
}

/// What is still to come of a body, under the same limits.
pub(super) struct Rest<B> {
    body: B,
    /// The length of all of it, where the client has told.
    pub length: Option<u64>,
    left: usize,
    limits: Limits,
    ends: Pin<Box<Sleep>>,
}

/// Reads the body until its end or until more than `most` bytes are there.
pub(super) async fn begin<B>(mut body: B, limits: Limits, most: usize) -> Result<Taken<B>, ApiError>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let length = body.size_hint().exact();
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(ApiError::payload_too_large(limits.bytes));
    }
    let mut ends = Box::pin(sleep(limits.time));
    let mut held = BytesMut::new();
    while held.len() <= most && !body.is_end_stream() {
        let piece = tokio::select! {
            biased;
            piece = next(&mut body) => piece?,
            () = &mut ends => return Err(too_slow(limits.time)),
        };
        let Some(piece) = piece else { return Ok(Taken { held: held.freeze(), rest: None }) };
        held.extend_from_slice(&piece);
    }
    if held.len() > limits.bytes {
        return Err(ApiError::payload_too_large(limits.bytes));
    }
    let left = limits.bytes - held.len();
    let rest = (!body.is_end_stream()).then_some(Rest { body, length, left, limits, ends });
    Ok(Taken { held: held.freeze(), rest })
}

impl<B: Body<Data = Bytes, Error: Display> + Unpin> Body for Rest<B> {
    type Data = Bytes;
    type Error = ApiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ApiError>>> {
        let this = &mut *self;
        let Poll::Ready(polled) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.ends.as_mut().poll(cx));
            return Poll::Ready(Some(Err(too_slow(this.limits.time))));
        };
        let Some(frame) = polled else { return Poll::Ready(None) };
        let frame = frame.map_err(|error| broken(&error))?;
        match this.left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(left) => this.left = left,
            None => return Poll::Ready(Some(Err(ApiError::payload_too_large(this.limits.bytes)))),
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

/// Reads the whole body. Dropping the future drops what has been read.
pub(super) async fn read<B>(body: B, limits: Limits) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > limits.bytes {
        return Err(ApiError::payload_too_large(limits.bytes));
    }
    let mut gathered = pin!(gather(body, declared, limits.bytes));
    // Most bodies are there with their head, and need no clock.
    if let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(gathered.as_mut().poll(cx))).await {
        return read;
    }
    timeout(limits.time, gathered).await.unwrap_or_else(|_| Err(too_slow(limits.time)))
}

async fn gather<B>(mut body: B, declared: usize, limit: usize) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let Some(first) = next(&mut body).await? else { return Ok(Bytes::new()) };
    if first.len() > limit {
        return Err(ApiError::payload_too_large(limit));
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(declared.min(TRUSTED_BYTES).max(first.len()));
    whole.extend_from_slice(&first);
    while let Some(piece) = next(&mut body).await? {
        if whole.len() + piece.len() > limit {
            return Err(ApiError::payload_too_large(limit));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// The next piece of data; trailers, which no OpenAI request has, are passed over.
async fn next<B>(body: &mut B) -> Result<Option<Bytes>, ApiError>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => return Ok(Some(data)),
            Ok(Err(_)) => {}
            Err(error) => return Err(broken(&error)),
        }
    }
    Ok(None)
}

fn broken(error: &impl Display) -> ApiError {
    ApiError::invalid_request(format!(
        "the request body broke off: {error}; hint: check content-length and send it whole"
    ))
    .with_code("body_incomplete")
}

fn too_slow(limit: Duration) -> ApiError {
    let message = format!(
        "the request body took longer than {} ms; hint: send it faster or raise the gateway's body_timeout_ms",
        limit.as_millis()
    );
    ApiError::new(408, "invalid_request_error", message).with_code("request_timeout")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    const LIMITS: Limits = Limits { bytes: 8, time: Duration::from_secs(1) };

    fn pieces(pieces: &[&'static str]) -> Body {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        Body::new(StreamBody::new(stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_put_together_and_one_in_one_piece_is_not_copied() {
        assert_eq!(read(pieces(&["ab", "cd", "ef"]), LIMITS).await, Ok(Bytes::from_static(b"abcdef")));
        let whole = Bytes::from_static(b"abc");
        let read = read(Body::from(whole.clone()), LIMITS).await.unwrap();
        assert_eq!(read.as_ptr(), whole.as_ptr());
    }

    #[tokio::test]
    async fn one_byte_too_many_is_413_whether_declared_or_not() {
        for body in [pieces(&["12345678", "9"]), pieces(&["123456789"]), Body::from("123456789")] {
            assert_eq!(read(body, LIMITS).await.unwrap_err().status, 413);
        }
        assert!(read(pieces(&["1234", "5678"]), LIMITS).await.is_ok());
    }

    #[tokio::test]
    async fn a_long_body_is_begun_and_its_rest_is_held_to_the_same_limits() {
        let short = begin(pieces(&["ab", "cd"]), LIMITS, 4).await.unwrap();
        assert_eq!((&short.held[..], short.rest.is_none()), (&b"abcd"[..], true));

        let long = begin(pieces(&["ab", "cd", "ef"]), LIMITS, 3).await.unwrap();
        assert_eq!(long.held, "abcd");
        let mut rest = long.rest.unwrap();
        assert_eq!(rest.frame().await.unwrap().unwrap().into_data().unwrap(), "ef");
        assert!(rest.frame().await.is_none());

        let endless = begin(pieces(&["abcd", "efgh", "i"]), LIMITS, 3).await.unwrap();
        let mut rest = endless.rest.unwrap();
        rest.frame().await.unwrap().unwrap();
        assert_eq!(rest.frame().await.unwrap().unwrap_err().status, 413);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_408() {
        let endless =
            Body::new(StreamBody::new(stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>()));
        assert_eq!(read(endless, LIMITS).await.unwrap_err().status, 408);
    }
}
