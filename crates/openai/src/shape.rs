//! The shapes in which APIs tell errors: OpenAI's, and Anthropic's, whose clients look for nothing else.

use serde::Serialize;

use crate::ApiError;

/// In which shape a client expects errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorShape {
    /// `{"error": {message, type, param, code}}`
    #[default]
    OpenAi,
    /// `{"type": "error", "error": {type, message}}`, with types of its own
    Anthropic,
}

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: &'static str,
    error: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    r#type: &'static str,
    message: &'a str,
}

impl ApiError {
    /// The JSON body of an answer with this error.
    ///
    /// ```
    /// use warmroute_openai::{ApiError, ErrorShape};
    /// let body = ApiError::no_worker().body_in(ErrorShape::Anthropic);
    /// assert!(body.starts_with(br#"{"type":"error","error":{"type":"overloaded_error","message":"no healthy worker"#));
    /// ```
    pub fn body_in(self, shape: ErrorShape) -> Vec<u8> {
        match shape {
            ErrorShape::OpenAi => self.into_body(),
            ErrorShape::Anthropic => crate::to_json(&self.anthropic()),
        }
    }

    /// The error as one event of a stream already begun, which must then be cut.
    pub fn sse_event_in(&self, shape: ErrorShape) -> Vec<u8> {
        match shape {
            ErrorShape::OpenAi => self.sse_event(),
            ErrorShape::Anthropic => {
                let mut event = b"event: error\n".to_vec();
                event.extend_from_slice(&crate::sse::event(&self.anthropic()));
                event
            }
        }
    }

    fn anthropic(&self) -> Envelope<'_> {
        Envelope {
            r#type: "error",
            error: Told { r#type: anthropic_type(self.status), message: &self.message },
        }
    }
}

/// Anthropic's word for a status.
fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anthropic_client_finds_type_and_message_where_it_looks() {
        let error = ApiError::new(404, "x", "gone; hint: look elsewhere").with_code("model_not_found");
        let expected =
            r#"{"type":"error","error":{"type":"not_found_error","message":"gone; hint: look elsewhere"}}"#;
        assert_eq!(error.clone().body_in(ErrorShape::Anthropic), expected.as_bytes());
        let event = format!("event: error\ndata: {expected}\n\n");
        assert_eq!(error.sse_event_in(ErrorShape::Anthropic), event.as_bytes());
        assert_eq!(error.sse_event_in(ErrorShape::OpenAi), error.sse_event());
    }
}
