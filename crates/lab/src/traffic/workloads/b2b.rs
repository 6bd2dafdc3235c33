//! Companies that each ask with a long system prompt of their own: the published shared-prefix benchmark of gateways.
//!
//! 150 groups of 5 users, a system prompt of 6,000 tokens for each group, questions of 1,200 tokens and answers of 1,000. The
//! published shape asks a user's one question again and again; here every question is new, as users' questions are.

use warmroute_kv::Tokens;
use warmroute_routing::policy::{OptionInfo, Options};

use super::{BLOCK, FLEET, WorkloadInfo, open_loop, request_count, request_rate};
use crate::traffic::content::{Segment, Segments};
use crate::traffic::dice::Dice;
use crate::traffic::{Ask, Content, Session};

pub(super) const INFO: WorkloadInfo = WorkloadInfo {
    name: "b2b",
    about: "150 groups with a 6,000-token system prompt each, questions of 1,200 tokens, answers of 1,000",
    options: &[
        request_rate(10.0, (3.0, 60.0)),
        request_count(3_000.0),
        OptionInfo {
            name: "groups",
            default: 150.0,
            range: (1.0, 10_000.0),
            about: "groups of users; each has a system prompt",
        },
        OptionInfo {
            name: "context",
            default: 0.0,
            range: (0.0, 100_000.0),
            about: "tokens about the user between system prompt and question",
        },
    ],
    block: BLOCK,
    fleet: FLEET,
    make,
};

const USERS_IN_A_GROUP: usize = 5;
const SYSTEM_TOKENS: u32 = 6_000;
const QUESTION_TOKENS: u32 = 1_200;
const OUTPUT_TOKENS: Tokens = Tokens(1_000);

fn make(options: &Options<'_>, seed: u64) -> Vec<Session> {
    let mut dice = Dice::new(seed);
    let mut segments = Segments::new(dice.seed());
    let groups = options.count("groups");
    let systems: Vec<Segment> = (0..groups).map(|_| segments.fresh(SYSTEM_TOKENS)).collect();
    let context = options.count("context") as u32;
    let users: Vec<Segment> = (0..groups * USERS_IN_A_GROUP).map(|_| segments.fresh(context)).collect();
    let arrivals = dice.fork();
    open_loop(options, arrivals, || {
        let user = dice.below(users.len());
        let question = segments.fresh(QUESTION_TOKENS);
        let content = Content::of(BLOCK, &[systems[user / USERS_IN_A_GROUP], users[user], question]);
        Ask { content, prompt: Tokens(SYSTEM_TOKENS + context + QUESTION_TOKENS), output: OUTPUT_TOKENS }
    })
}
