//! The gateway over real sockets, in front of workers that follow a script.
//!
//! No test sleeps: each waits for the event it is about, under one generous limit that only a hang can reach.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod admin;
mod breaker;
mod client;
mod disconnects;
mod drain;
mod errors;
mod failures;
mod fleet;
mod h2c;
mod health;
mod http2;
mod keys;
mod logs;
mod members;
mod models;
mod passthrough;
mod peers;
mod policies;
mod queue;
mod reload;
mod sessions;
mod surfaces;
mod through;
mod tls;
mod token_mode;
mod tokens;
mod traces;
mod worker;
