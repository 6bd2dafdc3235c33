//! The shipped router in virtual time: real decisions, real block pools, engines that only keep time.
//!
//! A [`Scenario`] says what fleet the [`Traffic`](crate::traffic::Traffic) meets; [`simulate()`] plays it and measures. The same
//! scenario and traffic give the same report, byte for byte.

mod agenda;
pub mod change;
mod checks;
mod flight;
mod gateways;
pub mod jobs;
mod measures;
mod recovery;
pub mod report;
mod scenario;
pub mod show;
pub mod suite;
#[cfg(test)]
mod tests;
mod world;
mod yardsticks;

pub use self::checks::Broken;
pub use self::report::RunReport;
pub use self::scenario::{Change, Happening, Scenario, Slo, View};
pub use self::world::simulate;
pub use warmroute_kv::timed::EngineModel;
