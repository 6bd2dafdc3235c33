//! Ordinary assistants: people who talk for a few turns, read the answer, and go on, behind one system prompt.

use std::time::Duration;

use warmroute_routing::policy::{OptionInfo, Options};

use super::{BLOCK, FLEET, WorkloadInfo, session_count, session_rate};
use crate::traffic::Session;
use crate::traffic::content::{Segment, Segments};
use crate::traffic::dialogue::Dialogue;
use crate::traffic::dice::{Arrivals, Dice, Lognormal};

pub(super) const INFO: WorkloadInfo = WorkloadInfo {
    name: "chat",
    about: "chats of eight turns behind one system prompt, with time to read the answers (closed loop)",
    options: &[
        session_rate(7.0, "chats that begin per second"),
        session_count(2_000.0),
        OptionInfo { name: "turns", default: 8.0, range: (1.0, 100.0), about: "questions in one chat" },
        OptionInfo {
            name: "system",
            default: 1_500.0,
            range: (1.0, 100_000.0),
            about: "tokens of the system prompt",
        },
    ],
    block: BLOCK,
    fleet: FLEET,
    make,
};

const QUESTION: Lognormal = Lognormal { median: 60.0, sigma: 1.0, range: (4.0, 2_000.0) };
const ANSWER: Lognormal = Lognormal { median: 220.0, sigma: 0.7, range: (8.0, 1_500.0) };
const THINK_S: Lognormal = Lognormal { median: 8.0, sigma: 0.8, range: (0.5, 120.0) };

fn make(options: &Options<'_>, seed: u64) -> Vec<Session> {
    let mut dice = Dice::new(seed);
    let mut segments = Segments::new(dice.seed());
    let system = segments.fresh(options.count("system") as u32);
    let arrivals = Arrivals::new(dice.fork(), options.get("rate")).take(options.count("sessions"));
    let mut talk = |turns| chat(turns, system, &mut dice, &mut segments);
    (0..).zip(arrivals).map(|(key, start)| talk(options.count("turns")).session(key, start)).collect()
}

fn chat(turns: usize, system: Segment, dice: &mut Dice, segments: &mut Segments) -> Dialogue {
    let mut chat = Dialogue::new(BLOCK);
    chat.hear(system);
    for turn in 0..turns {
        let think = if turn == 0 { Duration::ZERO } else { THINK_S.seconds(dice) };
        chat.hear(segments.fresh(QUESTION.tokens(dice)));
        chat.ask(think, segments.fresh(ANSWER.tokens(dice)));
    }
    chat
}
