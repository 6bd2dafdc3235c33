//! A stand-in for the public Mooncake conversation trace (Qin et al., FAST '25), with its statistics and none of its rows.
//!
//! For tests, and for users without the file: an open loop of 12,031 requests over 59 minutes, most of which never come back.
//! Lengths follow the trace's quantiles; how often, how soon and how far conversations go on is set so that one cache that never
//! forgets, and caches of 1 and 10 million tokens, hit what they hit on the trace. As in the trace, contents end
//! with the prompt, and the first block begins every request.

use std::time::Duration;

use warmroute_kv::Tokens;
use warmroute_routing::policy::{OptionInfo, Options};

use super::{FleetSize, WorkloadInfo, request_count};
use crate::traffic::content::{Segment, Segments};
use crate::traffic::dice::{Dice, Lognormal, Quantiles};
use crate::traffic::{Ask, Content, Session};

pub(super) const INFO: WorkloadInfo = WorkloadInfo {
    name: "conversation",
    about: "a stand-in for the Mooncake conversation trace: long prompts, one common first block, little reuse",
    options: &[
        request_count(12_031.0),
        OptionInfo {
            name: "spread",
            default: 0.0,
            range: (0.0, 1.0),
            about: "1 spreads requests inside the steps of 3 s in which the trace tells time",
        },
    ],
    block: BLOCK,
    fleet: FleetSize { workers: 8, cache: Tokens(1_000_000) },
    make,
};

const BLOCK: Tokens = Tokens(512);
const STEP_S: f64 = 3.0;
/// 12,031 requests in 3,537 s.
const REQUESTS_PER_S: f64 = 3.4015;

/// A conversation's first prompt.
const FIRST: Quantiles = Quantiles(&[
    (0.0, 891.0),
    (0.05, 897.0),
    (0.1, 905.0),
    (0.25, 1_336.0),
    (0.5, 5_264.0),
    (0.75, 13_056.0),
    (0.9, 25_561.0),
    (0.95, 38_538.0),
    (0.99, 89_869.0),
    (1.0, 122_000.0),
]);
const OUTPUT: Quantiles = Quantiles(&[
    (0.0, 1.0),
    (0.05, 10.0),
    (0.1, 24.0),
    (0.25, 156.0),
    (0.5, 350.0),
    (0.75, 472.0),
    (0.9, 597.0),
    (0.95, 698.0),
    (0.99, 1_120.0),
    (1.0, 2_000.0),
]);
/// What a further prompt adds: the last answer and a new message.
const GROWTH: Lognormal = Lognormal { median: 450.0, sigma: 1.6, range: (1.0, 30_000.0) };
/// The context window of the model that the trace was taken from.
const LONGEST: Tokens = Tokens(126_000);

/// Conversations that go on after their first request.
const GOES_ON: f64 = 0.285;
/// Of those, the ones that go on after each further request.
const GOES_ON_AGAIN: f64 = 0.6;
/// Further requests that go back to an earlier point and say something else from there.
const GOES_BACK: f64 = 0.17;
/// Nobody reads and writes faster.
const LEAST_PAUSE_S: f64 = 15.0;
const PAUSE_S: Lognormal = Lognormal { median: 130.0, sigma: 1.25, range: (1.0, 3_600.0) };

fn make(options: &Options<'_>, seed: u64) -> Vec<Session> {
    let mut dice = Dice::new(seed);
    let mut segments = Segments::new(dice.seed());
    let universal = segments.fresh(BLOCK.0);
    let requests = options.count("requests");
    let end_s = requests as f64 / REQUESTS_PER_S;
    let mut sent = Vec::with_capacity(requests);
    while sent.len() < requests {
        let mut talk = Talk::begin(universal, &mut dice, &mut segments);
        let mut at_s = dice.unit() * end_s;
        let mut goes_on = GOES_ON;
        while at_s < end_s && sent.len() < requests {
            sent.push((at_s, talk.ask(&mut dice)));
            if !dice.happens(goes_on) {
                break;
            }
            goes_on = GOES_ON_AGAIN;
            talk.go_on(&mut dice, &mut segments);
            at_s += LEAST_PAUSE_S + PAUSE_S.draw(&mut dice);
        }
    }
    if options.get("spread") < 0.5 {
        sent.iter_mut().for_each(|(at_s, _)| *at_s -= *at_s % STEP_S);
    }
    sent.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let session = |(key, (at_s, ask))| Session::one(key, Duration::from_secs_f64(at_s), ask);
    (0..).zip(sent).map(session).collect()
}

/// What a prompt of a conversation says.
struct Talk(Vec<Segment>);

impl Talk {
    fn begin(universal: Segment, dice: &mut Dice, segments: &mut Segments) -> Self {
        Self(vec![universal, segments.fresh((FIRST.tokens(dice) - BLOCK).0)])
    }

    fn length(&self) -> Tokens {
        self.0.iter().map(|segment| segment.tokens).sum()
    }

    fn ask(&self, dice: &mut Dice) -> Ask {
        Ask { content: Content::of(BLOCK, &self.0), prompt: self.length(), output: OUTPUT.tokens(dice) }
    }

    /// The next prompt is longer, even where only part of this one stays.
    fn go_on(&mut self, dice: &mut Dice, segments: &mut Segments) {
        let length = self.length();
        let longer = (length + Tokens(GROWTH.tokens(dice))).min(LONGEST);
        let stays = if dice.happens(GOES_BACK) { Tokens(dice.between(BLOCK.0, length.0)) } else { length };
        self.cut(stays);
        self.0.push(segments.fresh((longer - stays).0));
    }

    fn cut(&mut self, length: Tokens) {
        let mut left = length;
        for segment in &mut self.0 {
            *segment = segment.first(left);
            left -= segment.tokens;
        }
        self.0.retain(|segment| segment.tokens > Tokens::ZERO);
    }
}
