//! The fleet a simulation runs on, and what happens to it.

use std::time::Duration;

use warmroute_kv::Tokens;
use warmroute_kv::timed::EngineModel;
use warmroute_routing::policy::PolicyConfig;

/// A fleet before gateways.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Workers at the start.
    pub workers: usize,
    /// Tokens in each worker's KV cache.
    pub cache: Tokens,
    /// How long an engine's steps take.
    pub engine: EngineModel,
    /// What reports call the policy.
    pub policy_name: String,
    /// The policy of every gateway.
    pub policy: PolicyConfig,
    /// Where the policy's chance begins.
    pub seed: u64,
    /// Who speaks for the caches.
    pub view: View,
    /// Gateways that take requests in turn.
    pub gateways: usize,
    /// How much later a gateway hears of what engines and other gateways did.
    pub view_lag: Duration,
    /// What happens to workers, in order of time.
    pub changes: Vec<Change>,
    /// What counts as a good answer.
    pub slo: Slo,
}

/// Who speaks for the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The engines, by KV events.
    Exact,
    /// The gateway's shadows.
    Shadow,
}

impl View {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Exact, Self::Shadow];

    /// Its name in flags, tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Shadow => "shadow",
        }
    }
}

/// Something that happens to a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// When.
    pub at: Duration,
    /// To whom, by number from zero; a worker that joins takes the next number that is free.
    pub worker: usize,
    /// What.
    pub happening: Happening,
}

/// What may happen to a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Happening {
    /// A new worker with an empty cache.
    Join,
    /// It finishes what it has and gets no more.
    Drain,
    /// It dies; its requests are sent elsewhere.
    Leave,
    /// It dies and is back at once with an empty cache.
    Restart,
    /// Its steps take this many times as long from now on.
    Slow(f64),
    /// This share of its KV events is lost from now on.
    LoseEvents(f64),
}

/// What counts as a good answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slo {
    /// Longest time to the first token.
    pub ttft: Duration,
    /// Longest mean time between further tokens.
    pub tpot: Duration,
}

impl Default for Slo {
    fn default() -> Self {
        Self { ttft: Duration::from_secs(2), tpot: Duration::from_millis(100) }
    }
}
