//! What every workload promises, and how near the stand-in comes to the trace it stands for.

mod caches;
mod conversation;
mod registry;
mod traces;
