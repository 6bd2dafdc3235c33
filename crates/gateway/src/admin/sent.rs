//! What was sent to the admin API, with mistakes told in the shape that all our errors have.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use serde::de::DeserializeOwned;
use warmroute_openai::ApiError;

use crate::front::refusal::Refusal;

/// A request's body.
pub(crate) struct Sent(pub(super) Bytes);

impl Sent {
    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.0).map_err(ApiError::invalid_json)
    }
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let body = Bytes::from_request(request, state).await;
        let broken = |error| {
            let message = format!("the body cannot be read: {error}; hint: send no more than max_body_bytes");
            ApiError::new(413, "invalid_request_error", message).with_code("payload_too_large").into()
        };
        body.map(Self).map_err(broken)
    }
}

/// A request's query.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let bad = |error| {
            let message =
                format!("the query cannot be read: {error}; hint: GET /openapi.json lists its parameters");
            ApiError::invalid_request(message).with_code("invalid_query").into()
        };
        query.map(|Query(query)| Self(query)).map_err(bad)
    }
}
