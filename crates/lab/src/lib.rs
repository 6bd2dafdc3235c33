//! The laboratory: seeded workloads, a live load generator, and reports that put routing policies side by side.
//!
//! Everything here speaks HTTP to URLs and knows nothing of how a gateway or a worker is built, so the same bench runs
//! against a demo in one process, a compose file, or any OpenAI-compatible server. [`compare()`] is the whole experiment:
//! uncached reference answers first, then every policy on the same requests with empty caches. What a policy is depends on
//! its caller, through the [`Fleet`] trait.

pub mod client;
pub mod compare;
pub mod grid;
pub mod load;
pub mod machine;
pub mod oracle;
pub mod progress;
pub mod report;
pub mod rivals;
pub mod ruler;
pub mod simulate;
pub mod traffic;
pub mod workload;

pub use compare::{Fleet, LabError, Plan, compare};
pub use report::Report;

#[cfg(test)]
mod tests;
