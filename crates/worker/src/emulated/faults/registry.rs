//! Everything that can go wrong on purpose: the one list from which flags, their help, orders and tests are derived.

/// A way to fail.
#[derive(Debug, PartialEq, Eq)]
pub struct FaultInfo {
    /// Its name in flags and orders.
    pub name: &'static str,
    /// What a client sees.
    pub about: &'static str,
    /// What is done.
    pub effect: Effect,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A new connection is reset before it is heard.
    Refuse,
    /// The connection is closed instead of an answer.
    HangUp,
    /// Nothing is sent for a while, or ever.
    Stall,
    /// The same, after the first token.
    StallMidway,
    /// The connection is reset after the first token.
    ResetMidway,
    /// An error with this status.
    Status(u16),
    /// The answer begins later.
    Slow,
    /// The worker says that it is not ready yet, to requests and health checks.
    Unready,
}

/// Every fault there is.
pub const FAULTS: &[FaultInfo] = &[
    FaultInfo { name: "refuse", about: "a new connection is reset at once", effect: Effect::Refuse },
    FaultInfo {
        name: "hang_up",
        about: "the connection is closed instead of an answer",
        effect: Effect::HangUp,
    },
    FaultInfo {
        name: "stall",
        about: "nothing is sent, for ms milliseconds or until the client leaves",
        effect: Effect::Stall,
    },
    FaultInfo {
        name: "stall_midway",
        about: "the answer stops after its first token, for ms milliseconds or until the client leaves",
        effect: Effect::StallMidway,
    },
    FaultInfo {
        name: "reset_midway",
        about: "the connection is reset (RST) after the first token",
        effect: Effect::ResetMidway,
    },
    FaultInfo { name: "status_500", about: "an internal error", effect: Effect::Status(500) },
    FaultInfo {
        name: "status_429",
        about: "too many requests, with Retry-After",
        effect: Effect::Status(429),
    },
    FaultInfo { name: "status_503", about: "unavailable, with Retry-After", effect: Effect::Status(503) },
    FaultInfo {
        name: "slow",
        about: "the answer begins ms milliseconds later (1,000)",
        effect: Effect::Slow,
    },
    FaultInfo {
        name: "unready",
        about: "health checks and requests get 503, as while a model loads",
        effect: Effect::Unready,
    },
];

/// The fault of this name.
pub fn fault(name: &str) -> Option<&'static FaultInfo> {
    FAULTS.iter().find(|info| info.name == name)
}
