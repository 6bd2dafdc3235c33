//! The emulated worker over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod answers;
mod cache;
mod docs;
mod faults;
mod pace;
mod world;
