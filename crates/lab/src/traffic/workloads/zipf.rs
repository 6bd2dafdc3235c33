//! Many system prompts of unequal popularity: few that everybody asks with, and a long tail.
//!
//! How steep the popularity falls decides whether caches should hold copies of the popular or one of each.

use warmroute_kv::Tokens;
use warmroute_routing::policy::{OptionInfo, Options};

use super::{BLOCK, FLEET, WorkloadInfo, open_loop, request_count, request_rate};
use crate::traffic::content::{Segment, Segments};
use crate::traffic::dice::{Dice, Lognormal, Zipf};
use crate::traffic::{Ask, Content, Session};

pub(super) const INFO: WorkloadInfo = WorkloadInfo {
    name: "zipf",
    about: "500 system prompts of 2,000 to 6,000 tokens, popular by Zipf's law, and questions of 200 to 600",
    options: &[
        request_rate(50.0, (0.1, 10_000.0)),
        request_count(15_000.0),
        OptionInfo {
            name: "skew",
            default: 1.0,
            range: (0.0, 3.0),
            about: "the prompt at rank r is asked in proportion to r^-skew",
        },
        OptionInfo { name: "prompts", default: 500.0, range: (1.0, 100_000.0), about: "system prompts" },
    ],
    block: BLOCK,
    fleet: FLEET,
    make,
};

const SYSTEM_TOKENS: (u32, u32) = (2_000, 6_000);
const QUESTION_TOKENS: (u32, u32) = (200, 600);
const OUTPUT: Lognormal = Lognormal { median: 180.0, sigma: 0.5, range: (16.0, 1_000.0) };

fn make(options: &Options<'_>, seed: u64) -> Vec<Session> {
    let mut dice = Dice::new(seed);
    let mut segments = Segments::new(dice.seed());
    let popularity = Zipf::new(options.count("prompts"), options.get("skew"));
    let systems: Vec<Segment> = (0..options.count("prompts"))
        .map(|_| segments.fresh(dice.between(SYSTEM_TOKENS.0, SYSTEM_TOKENS.1)))
        .collect();
    let arrivals = dice.fork();
    open_loop(options, arrivals, || {
        let system = systems[popularity.draw(&mut dice)];
        let question = segments.fresh(dice.between(QUESTION_TOKENS.0, QUESTION_TOKENS.1));
        let output = Tokens(OUTPUT.tokens(&mut dice));
        Ask {
            content: Content::of(BLOCK, &[system, question]),
            prompt: system.tokens + question.tokens,
            output,
        }
    })
}
