//! One bounded read of a request's body into one piece of memory.
//!
//! A body that arrives in one piece, as most do, is not copied. A longer one is gathered into a buffer of its declared length, which
//! grows only with what really came: a lying `content-length` costs the liar's bandwidth, not our memory.

use std::fmt::Display;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;
use warmroute_openai::ApiError;

/// How large a body may be and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub bytes: usize,
    pub time: Duration,
}

/// At most this much is set aside on the word of a `content-length` alone.
const TRUSTED_BYTES: usize = 256 * 1024;

/// Reads the whole body. Dropping the future drops what has been read.
pub(super) async fn read<B>(body: B, limits: Limits) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > limits.bytes {
        return Err(ApiError::payload_too_large(limits.bytes));
    }
    match timeout(limits.time, gather(body, declared, limits.bytes)).await {
        Ok(read) => read,
        Err(_) => Err(too_slow(limits.time)),
    }
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

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_408() {
        let endless =
            Body::new(StreamBody::new(stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>()));
        assert_eq!(read(endless, LIMITS).await.unwrap_err().status, 408);
    }
}
