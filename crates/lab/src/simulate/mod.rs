//! The shipped router in virtual time: real decisions, real block pools, engines that only keep time.
//!
//! A [`Scenario`] says what fleet the [`Traffic`](crate::traffic::Traffic) meets; [`simulate()`] plays it and measures. The same
//! scenario and traffic give the same report, byte for byte.

pub mod change;
pub mod jobs;
pub mod report;
mod scenario;
pub mod show;
pub mod suite;

pub use self::report::RunReport;
pub use self::scenario::{Change, EngineModel, Happening, Scenario, Slo, View};
