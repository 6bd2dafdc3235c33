//! The whole worker over real sockets, on the embedded model.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod answers;
mod cache;
mod failures;
mod lifecycle;
mod publish;
#[path = "../reader/mod.rs"]
mod reader;
mod world;
