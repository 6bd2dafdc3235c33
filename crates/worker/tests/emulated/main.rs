//! The emulated worker over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod answers;
mod cache;
mod docs;
mod faults;
mod live;
mod pace;
mod publish;
#[path = "../reader/mod.rs"]
mod reader;
mod world;
