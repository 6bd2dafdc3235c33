//! The inference engine: requests in, tokens out, over a paged cache that requests share.
//!
//! Three layers, each testable without the next: the pure batch planner and its parts ([`Engine`]), a thread that runs it
//! ([`EngineHandle`]), and the HTTP service in [`crate::service`].

mod answer;
mod batch;
mod feed;
mod gate;
mod inference;
mod metrics;
mod notice;
mod plan;
mod priority;
mod sampling;
mod sequence;
mod step;
mod stop;
#[cfg(test)]
mod tests;
mod thread;
mod waiting;

pub use self::answer::AnswerOptions;
pub use self::batch::{Engine, Limits};
pub use self::feed::KvBatch;
pub(crate) use self::feed::KvFeed;
pub use self::gate::{Gate, Pass};
pub use self::inference::{CachedModel, Inference};
pub use self::metrics::{EXPOSITION_TYPE, Metrics};
pub use self::sequence::{Job, RequestId};
pub use self::step::{StepReport, Update, Used};
pub use self::thread::{EngineHandle, Refused};
