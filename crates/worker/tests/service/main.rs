//! The whole worker over real sockets, on the embedded model.

mod answers;
mod cache;
mod failures;
mod lifecycle;
mod world;
