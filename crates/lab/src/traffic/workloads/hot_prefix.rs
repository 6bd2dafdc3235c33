//! Most requests begin with one and the same long prefix; the rest share nothing.
//!
//! A rule that only follows the cache sends the hot ones to one worker, and a rule with a switch for "unbalanced" fleets then
//! forgets the cache for all.

use warmroute_kv::Tokens;
use warmroute_routing::policy::{OptionInfo, Options};

use super::{BLOCK, FLEET, WorkloadInfo, open_loop, request_count, request_rate};
use crate::traffic::content::Segments;
use crate::traffic::dice::{Dice, Lognormal};
use crate::traffic::{Ask, Content, Session};

pub(super) const INFO: WorkloadInfo = WorkloadInfo {
    name: "hot_prefix",
    about: "70 % of requests begin with one prefix of 4,096 tokens, the others share nothing",
    options: &[
        request_rate(50.0, (0.1, 10_000.0)),
        request_count(15_000.0),
        OptionInfo {
            name: "share",
            default: 0.7,
            range: (0.0, 1.0),
            about: "share of requests with the prefix",
        },
        OptionInfo {
            name: "prefix",
            default: 4_096.0,
            range: (1.0, 120_000.0),
            about: "tokens of the prefix",
        },
    ],
    block: BLOCK,
    fleet: FLEET,
    make,
};

/// What no other request has, with the prefix or without.
const OWN_TOKENS: (u32, u32) = (500, 2_000);

const OUTPUT: Lognormal = Lognormal { median: 130.0, sigma: 0.5, range: (16.0, 600.0) };

fn make(options: &Options<'_>, seed: u64) -> Vec<Session> {
    let mut dice = Dice::new(seed);
    let mut segments = Segments::new(dice.seed());
    let prefix = segments.fresh(options.count("prefix") as u32);
    let share = options.get("share");
    let arrivals = dice.fork();
    open_loop(options, arrivals, || {
        let own = segments.fresh(dice.between(OWN_TOKENS.0, OWN_TOKENS.1));
        let output = Tokens(OUTPUT.tokens(&mut dice));
        if dice.happens(share) {
            let content = Content::of(BLOCK, &[prefix, own]);
            Ask { content, prompt: prefix.tokens + own.tokens, output }
        } else {
            Ask { content: Content::of(BLOCK, &[own]), prompt: own.tokens, output }
        }
    })
}
