//! The suite: every regime in which a claim about routing must hold, by name.
//!
//! A regime is one line of [`REGIMES`]; flags, help, tables, the matrix and the promises go through that list. Each rule of
//! other routers collapses in some of these, and that is why there are so many.

use super::RunReport;
use super::show::summary::Group;

pub mod matrix;
pub mod promises;

/// A workload, a fleet and what happens to it.
#[derive(Debug, PartialEq)]
pub struct Regime {
    /// What `--suite` calls it.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// The workload as `--workload` takes it.
    pub workload: &'static str,
    /// Whether a trace, where there is one, is played instead of the workload.
    pub trace: bool,
    /// How many times as fast requests arrive.
    pub rate: f64,
    /// Workers, and tokens in the cache of each.
    pub fleet: (usize, u32),
    /// What happens, as `--change` takes it.
    pub changes: &'static [&'static str],
    /// Gateways that share the traffic.
    pub gateways: usize,
    /// How late each of them hears of what others did.
    pub view_lag_ms: u64,
    /// Whether fixed rules collapse here, so that ours has to be far ahead.
    pub collapses: bool,
}

/// Eight workers that cache a million tokens each.
const AMPLE: (usize, u32) = (8, 1_000_000);
/// Eight workers that cache less than the working set of [`B2B`] each.
const TIGHT: (usize, u32) = (8, 307_000);

/// A regime in which nothing happens.
const STEADY: Regime = Regime {
    name: "",
    about: "",
    workload: "",
    trace: false,
    rate: 1.0,
    fleet: AMPLE,
    changes: &[],
    gateways: 1,
    view_lag_ms: 0,
    collapses: false,
};

/// Agents on ample caches, to which something happens.
const AGENTIC: Regime = Regime { workload: "agentic", ..STEADY };
/// Prompts of some thousand tokens, on the caches that a model of 32 billion parameters leaves in 80 GB.
const SMALL: Regime = Regime { fleet: TIGHT, ..STEADY };
/// Companies with long system prompts, on caches that hold a part of them.
const B2B: Regime = Regime { fleet: TIGHT, ..STEADY };

/// Every regime, in the order in which they run.
pub static REGIMES: &[Regime] = &[
    Regime {
        name: "conversation",
        about: "conversations, half as fast again; the trace, where one is given",
        workload: "conversation",
        trace: true,
        rate: 1.5,
        ..STEADY
    },
    Regime { name: "agentic", about: "agents in a closed loop", ..AGENTIC },
    Regime { name: "agentic_20", about: "a fifth more agents", workload: "agentic:load=1.2", ..STEADY },
    Regime {
        name: "agentic_full",
        about: "three times the agents: mocker engines are fast enough that caches still hold them",
        workload: "agentic:load=3,sessions=1000",
        collapses: true,
        ..STEADY
    },
    Regime {
        name: "agentic_overload",
        about: "more agents than the caches can hold, with engines of either model",
        workload: "agentic:load=4,sessions=1000",
        collapses: true,
        ..STEADY
    },
    Regime { name: "b2b_3", about: "150 long system prompts, 3 requests/s", workload: "b2b:rate=3", ..B2B },
    Regime {
        name: "b2b_10",
        about: "the same, 10 requests/s",
        workload: "b2b:rate=10",
        collapses: true,
        ..B2B
    },
    Regime { name: "b2b_30", about: "the same, 30 requests/s", workload: "b2b:rate=30", ..B2B },
    Regime { name: "b2b_60", about: "the same, 60 requests/s", workload: "b2b:rate=60", ..B2B },
    Regime { name: "hot_prefix", about: "most requests share one prefix", workload: "hot_prefix", ..SMALL },
    Regime { name: "zipf_08", about: "system prompts by Zipf, 0.8", workload: "zipf:skew=0.8", ..SMALL },
    Regime { name: "zipf_10", about: "system prompts by Zipf, 1.0", workload: "zipf:skew=1.0", ..SMALL },
    Regime { name: "zipf_12", about: "system prompts by Zipf, 1.2", workload: "zipf:skew=1.2", ..SMALL },
    Regime { name: "chat", about: "people who chat", workload: "chat", ..SMALL },
    Regime { name: "uniform", about: "nothing to reuse", workload: "uniform", ..SMALL },
    Regime { name: "join", about: "agents; a worker joins", changes: &["300s:join"], ..AGENTIC },
    Regime { name: "leave", about: "agents; a worker dies", changes: &["300s:leave:3"], ..AGENTIC },
    Regime {
        name: "restart",
        about: "agents; a worker restarts cold",
        changes: &["300s:restart:3"],
        ..AGENTIC
    },
    Regime {
        name: "slow",
        about: "agents; a worker at half its speed",
        changes: &["0s:slow=2:1"],
        ..AGENTIC
    },
    Regime {
        name: "event_loss",
        about: "agents; the KV events of a worker are lost",
        changes: &["0s:lose-events=1:2"],
        ..AGENTIC
    },
    Regime {
        name: "gateways_2",
        about: "agents; 2 gateways, 250 ms late",
        gateways: 2,
        view_lag_ms: 250,
        ..AGENTIC
    },
    Regime {
        name: "gateways_4",
        about: "agents; 4 gateways, 250 ms late",
        gateways: 4,
        view_lag_ms: 250,
        ..AGENTIC
    },
];

/// A name that no regime has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no regime '{name}'; hint: all, or some of {}", names(), name = .0)]
pub struct UnknownRegime(String);

/// The regime of that name.
///
/// # Errors
/// If there is none.
pub fn regime(name: &str) -> Result<&'static Regime, UnknownRegime> {
    REGIMES.iter().find(|regime| regime.name == name).ok_or_else(|| UnknownRegime(name.to_owned()))
}

fn names() -> String {
    REGIMES.iter().map(|regime| regime.name).collect::<Vec<_>>().join(", ")
}

/// What a regime came to under one engine model.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// The regime's name.
    pub regime: &'a str,
    /// Its runs.
    pub group: Group<'a>,
}

impl<'a> Outcome<'a> {
    /// The outcomes of a regime's runs, one for each engine model.
    pub fn all(regime: &'a str, runs: &'a [RunReport]) -> Vec<Self> {
        Group::all(runs).into_iter().map(|group| Self { regime, group }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::simulate::change;

    #[test]
    fn names_are_unique_and_say_all_there_is_to_say() {
        let names: BTreeSet<&str> = REGIMES.iter().map(|regime| regime.name).collect();
        assert_eq!(names.len(), REGIMES.len());
        for name in names {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
            assert!(name != "all" && name.len() <= 16 && regime(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn whatever_happens_in_a_regime_can_happen() {
        for regime in REGIMES {
            let changes = change::parse_all(regime.changes, regime.fleet.0);
            assert!(changes.is_ok(), "{}: {changes:?}", regime.name);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let said = regime("weekend").unwrap_err().to_string();
        assert!(
            said.starts_with("there is no regime 'weekend'; hint: all, or some of conversation, "),
            "{said}"
        );
    }
}
