//! Every failure leaves as an OpenAI-shaped error, also those that axum would answer in plain text.

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use warmroute_openai::ApiError;

use crate::engine::Refused;

/// Largest request body. A context of a million tokens is about 5 MB of JSON; more is a mistake or an attack.
pub(crate) const BODY_LIMIT_BYTES: usize = 16 << 20;

/// Seconds after which a refused client may find room: about the time of one answer.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An [`ApiError`] as a response.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) ApiError);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self(match refused {
            Refused::Full { in_flight } => ApiError::overloaded(in_flight),
            Refused::Stopped => ApiError::draining(),
        })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::from(self.0.into_body()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

/// A whole request body within the limit.
pub(super) struct Whole(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(error) => Err(Refusal(body_error(&error))),
        }
    }
}

fn body_error(error: &BytesRejection) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::payload_too_large(BODY_LIMIT_BYTES);
    }
    ApiError::invalid_json(error.body_text())
}
