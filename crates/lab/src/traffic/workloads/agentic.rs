//! Agents at work: sessions of many turns that grow to long contexts, and now and then send out sub-agents.
//!
//! Each turn repeats everything so far and adds a tool's result; the next comes soon after the answer. So nearly all of a
//! prompt can be reused, if it goes where the session was and is not evicted meanwhile. System prompts are shared by
//! sessions, few of them very popular.

use std::time::Duration;

use warmroute_kv::Tokens;
use warmroute_routing::policy::{OptionInfo, Options};

use super::{FleetSize, WorkloadInfo, session_count, session_rate};
use crate::traffic::content::{Segment, Segments};
use crate::traffic::dialogue::Dialogue;
use crate::traffic::dice::{Arrivals, Dice, Lognormal, Zipf};
use crate::traffic::{Ask, Content, Session};

pub(super) const INFO: WorkloadInfo = WorkloadInfo {
    name: "agentic",
    about: "sessions of 2 to 80 turns that grow to 120,000 tokens, with bursts of 7 sub-agents (closed loop)",
    options: &[
        OptionInfo {
            name: "load",
            default: 1.0,
            range: (0.01, 10.0),
            about: "sessions arrive this many times as fast; h100 engines are overloaded from 2 on, mocker ones from 4 on",
        },
        session_rate(0.34, "sessions that begin per second at load 1"),
        session_count(500.0),
        OptionInfo { name: "prompts", default: 40.0, range: (1.0, 10_000.0), about: "system prompts" },
        OptionInfo {
            name: "skew",
            default: 1.0,
            range: (0.0, 3.0),
            about: "the system prompt at rank r is used in proportion to r^-skew",
        },
        OptionInfo {
            name: "bursts",
            default: 0.05,
            range: (0.0, 1.0),
            about: "share of turns that go to sub-agents",
        },
    ],
    block: BLOCK,
    fleet: FleetSize { workers: 8, cache: Tokens(1_000_000) },
    make,
};

const BLOCK: Tokens = Tokens(128);
const SYSTEM_TOKENS: (u32, u32) = (4_000, 16_000);
const TASK: Lognormal = Lognormal { median: 600.0, sigma: 1.0, range: (50.0, 8_000.0) };
const TURNS: Lognormal = Lognormal { median: 12.0, sigma: 1.0, range: (2.0, 80.0) };
const TOOL_RESULT: Lognormal = Lognormal { median: 800.0, sigma: 0.9, range: (50.0, 8_000.0) };
const OUTPUT: Lognormal = Lognormal { median: 250.0, sigma: 0.7, range: (16.0, 2_000.0) };
const THINK_S: Lognormal = Lognormal { median: 2.0, sigma: 1.0, range: (0.1, 60.0) };
/// A session ends before it would grow beyond this.
const CONTEXT_TOKENS: Tokens = Tokens(120_000);

const SUB_AGENTS: usize = 7;
const SUB_SYSTEM_TOKENS: u32 = 5_000;
const SUB_TASK: Lognormal = Lognormal { median: 600.0, sigma: 0.8, range: (50.0, 8_000.0) };
const SUB_OUTPUT: Lognormal = Lognormal { median: 400.0, sigma: 0.7, range: (16.0, 2_000.0) };

fn make(options: &Options<'_>, seed: u64) -> Vec<Session> {
    let mut dice = Dice::new(seed);
    let mut segments = Segments::new(dice.seed());
    let rate = options.get("rate") * options.get("load");
    let arrivals = Arrivals::new(dice.fork(), rate).take(options.count("sessions"));
    let mut agents = Agents {
        systems: (0..options.count("prompts"))
            .map(|_| segments.fresh(dice.between(SYSTEM_TOKENS.0, SYSTEM_TOKENS.1)))
            .collect(),
        popularity: Zipf::new(options.count("prompts"), options.get("skew")),
        sub_system: segments.fresh(SUB_SYSTEM_TOKENS),
        bursts: options.get("bursts"),
        dice,
        segments,
    };
    (0..).zip(arrivals).map(|(key, start)| agents.work().session(key, start)).collect()
}

/// What sessions have in common.
struct Agents {
    dice: Dice,
    segments: Segments,
    systems: Vec<Segment>,
    popularity: Zipf,
    /// What every sub-agent's prompt begins with.
    sub_system: Segment,
    bursts: f64,
}

impl Agents {
    /// One session, from its task to its last turn.
    fn work(&mut self) -> Dialogue {
        let mut work = Dialogue::new(BLOCK);
        work.hear(self.systems[self.popularity.draw(&mut self.dice)]);
        for turn in 0..TURNS.tokens(&mut self.dice) {
            let sub_agents = if turn > 0 { self.burst() } else { Vec::new() };
            let message = match turn {
                0 => self.fresh(TASK),
                _ if sub_agents.is_empty() => self.fresh(TOOL_RESULT),
                _ => self.segments.fresh(sub_agents.iter().map(|ask| ask.output).sum::<Tokens>().0),
            };
            let answer = self.fresh(OUTPUT);
            if work.length() + message.tokens + answer.tokens > CONTEXT_TOKENS {
                break;
            }
            if !sub_agents.is_empty() {
                work.delegate(self.pause(), sub_agents);
            }
            work.hear(message);
            work.ask(if turn == 0 { Duration::ZERO } else { self.pause() }, answer);
        }
        work
    }

    /// Seven sub-agents at once, or none.
    fn burst(&mut self) -> Vec<Ask> {
        let count = if self.dice.happens(self.bursts) { SUB_AGENTS } else { 0 };
        (0..count).map(|_| self.sub_agent()).collect()
    }

    fn pause(&mut self) -> Duration {
        THINK_S.seconds(&mut self.dice)
    }

    /// One request of a sub-agent; its answer goes to the session that sent it out.
    fn sub_agent(&mut self) -> Ask {
        let task = self.fresh(SUB_TASK);
        Ask {
            content: Content::of(BLOCK, &[self.sub_system, task]),
            prompt: self.sub_system.tokens + task.tokens,
            output: Tokens(SUB_OUTPUT.tokens(&mut self.dice)),
        }
    }

    fn fresh(&mut self, length: Lognormal) -> Segment {
        self.segments.fresh(length.tokens(&mut self.dice))
    }
}
