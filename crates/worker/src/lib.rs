//! A CPU inference worker with a real paged prefix cache.
//!
//! Three layers, each knowing only the one below: [`service`] speaks OpenAI's HTTP API, [`engine`] batches requests over a
//! [block pool](warmroute_kv::BlockPool) that keeps what they have in common, [`model`] computes logits.
//!
//! What holds throughout: **a cached answer equals the uncached one, token for token**. The model's logits depend on the
//! preceding tokens and on nothing else, bit for bit; the pool gives out a block only for equal tokens after an equal parent;
//! and the engine's tests run against a model that turns any mix-up into another answer.
//!
//! ```no_run
//! # async fn example() -> Result<(), warmroute_worker::WorkerError> {
//! let worker = warmroute_worker::start(warmroute_worker::WorkerConfig::default()).await?;
//! println!("http://{}/v1/chat/completions", worker.address());
//! worker.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod emulated;
pub mod engine;
mod line;
pub mod model;
pub mod publish;
mod server;
pub mod service;

pub use service::{RunningWorker, WorkerConfig, WorkerError, WorkerModel, start};
