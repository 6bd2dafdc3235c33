//! What the OpenAI wire format means to a router and to a worker: requests, answers, errors, streams and views.
//!
//! Pure: no socket, clock or entropy. A gateway looks at a body through [`RequestView`], forwards it untouched, and reads
//! what the answer cost off its end with [`UsageTail`]. A worker parses the same body into [`request`] types and answers
//! with the parts of an [`AnswerHead`]. Both refuse with an [`ApiError`].
//!
//! ```
//! use warmroute_openai::{request::ChatRequest, response::{FinishReason, Usage}, AnswerHead, RequestView, UsageTail};
//!
//! let body = br#"{"model": "tiny", "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}"#;
//! // The gateway: which bytes are prompt?
//! let view = RequestView::of_chat(body)?;
//! assert_eq!(view.prompt, br#"[{"role": "user", "content": "Hello"}]"#);
//! // The worker: what is asked?
//! let request = ChatRequest::parse(body)?;
//! assert_eq!(request.options.max_tokens, Some(8));
//! let head = AnswerHead { id: "chatcmpl-1".to_owned(), created: 0, model: request.model };
//! let answer = head.chat("Hi!".to_owned(), FinishReason::Stop, Usage::new(12, 0, 2));
//! // The gateway again: what did it cost?
//! let mut tail = UsageTail::default();
//! tail.push(&answer.to_body());
//! assert_eq!(tail.usage(), answer.usage);
//! # Ok::<(), warmroute_openai::ApiError>(())
//! ```

mod answer;
mod error;
mod fields;
mod opening;
mod options;
pub mod request;
pub mod response;
mod scan;
mod shape;
mod splice;
pub mod sse;
mod strip;
mod tail;
mod view;

pub use answer::AnswerHead;
pub use error::ApiError;
pub use opening::Opening;
pub use shape::ErrorShape;
pub use splice::{Splice, model_of, model_of_form};
pub use strip::UsageStrip;
pub use tail::{KEPT_BYTES, UsageTail};
pub use view::{PromptKeys, RequestView, TEXT_START_CHARS};

/// Serialises one of this crate's own types.
fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("this crate's types have string keys only and write to memory")
}
