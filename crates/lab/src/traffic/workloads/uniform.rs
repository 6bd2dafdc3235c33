//! Prompts that share nothing: here a cache-aware rule has nothing to win, and must lose nothing.

use warmroute_kv::Tokens;
use warmroute_routing::policy::Options;

use super::{BLOCK, FLEET, WorkloadInfo, open_loop, request_count, request_rate};
use crate::traffic::content::Segments;
use crate::traffic::dice::{Dice, Lognormal};
use crate::traffic::{Ask, Content, Session};

pub(super) const INFO: WorkloadInfo = WorkloadInfo {
    name: "uniform",
    about: "prompts of 500 to 8,000 tokens that share nothing",
    options: &[request_rate(35.0, (0.1, 10_000.0)), request_count(10_000.0)],
    block: BLOCK,
    fleet: FLEET,
    make,
};

const PROMPT: Lognormal = Lognormal { median: 2_000.0, sigma: 0.7, range: (500.0, 8_000.0) };
const OUTPUT: Lognormal = Lognormal { median: 180.0, sigma: 0.5, range: (16.0, 1_000.0) };

fn make(options: &Options<'_>, seed: u64) -> Vec<Session> {
    let mut dice = Dice::new(seed);
    let mut segments = Segments::new(dice.seed());
    let arrivals = dice.fork();
    open_loop(options, arrivals, || {
        let prompt = segments.fresh(PROMPT.tokens(&mut dice));
        let output = Tokens(OUTPUT.tokens(&mut dice));
        Ask { content: Content::of(BLOCK, &[prompt]), prompt: prompt.tokens, output }
    })
}
