//! An error that the gateway makes itself, as a response: its client's JSON, plus what tells a client whether to try again.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use warmroute_openai::{ApiError, ErrorShape};
use warmroute_routing::NoWorker;

use super::headers;
use crate::config::Millis;
use crate::keys::Limited;
use crate::queue::Turned;

/// Seconds after which it is worth asking again: a health check's interval.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct Refusal {
    error: ApiError,
    /// The gateway has tried several workers: if SDKs did the same again, one request would become nine.
    already_retried: bool,
    /// Seconds until it is worth asking again, where that is known.
    retry_after: Option<u32>,
    shape: ErrorShape,
}

impl Refusal {
    /// The last error after `attempts` workers were tried.
    pub(super) fn after(attempts: usize, error: ApiError) -> Self {
        Self { already_retried: attempts > 1, ..Self::from(error) }
    }

    /// The same for a client that expects errors in this shape.
    pub(super) fn shaped(self, shape: ErrorShape) -> Self {
        Self { shape, ..self }
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> u16 {
        self.error.status
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, already_retried: false, retry_after: None, shape: ErrorShape::OpenAi }
    }
}

impl From<Limited> for Refusal {
    fn from(Limited { error, retry_after }: Limited) -> Self {
        // Rounded up: who comes back a moment early is refused again.
        let retry_after =
            retry_after.map(|wait| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1));
        Self { retry_after, ..Self::from(error) }
    }
}

/// 504: the request's whole time is over.
pub(super) fn too_long(limit: Millis) -> ApiError {
    let message = format!(
        "the request took longer than {limit} ms; hint: ask for a shorter answer or raise the gateway's total_timeout_ms"
    );
    ApiError::new(504, "upstream_error", message).with_code("deadline_exceeded")
}

impl From<Turned> for Refusal {
    fn from(turned: Turned) -> Self {
        let (error, retry_after) = match turned {
            Turned::Nobody(nobody) => return nobody.into(),
            Turned::Crowded { waiting, retry_after } => (ApiError::overloaded(waiting), retry_after),
            Turned::Late { waited, retry_after } => {
                let message = format!(
                    "every worker is full, and none had room within {} ms; hint: try again after retry-after, or send fewer requests at once",
                    waited.as_millis()
                );
                (ApiError::new(429, "rate_limit_error", message).with_code("queue_timeout"), retry_after)
            }
        };
        Limited { error, retry_after: Some(retry_after) }.into()
    }
}

impl From<NoWorker> for Refusal {
    fn from(_: NoWorker) -> Self {
        ApiError::no_worker().into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let code = self.error.code.as_deref().and_then(|code| HeaderValue::from_str(code).ok());
        let mut response = Response::new(Body::from(self.error.body_in(self.shape)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(headers::ERROR_CODE, code.unwrap_or(HeaderValue::from_static("unknown")));
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(RETRY_AFTER, self.retry_after.map_or(RETRY_AFTER_SECONDS, HeaderValue::from));
        }
        if self.already_retried {
            headers.insert(headers::SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}
