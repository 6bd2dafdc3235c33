//! The engine under random arrivals, cancellations and a cache far too small, against a model that notices every mistake.

mod thread;
mod toy;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use warmroute_kv::{BlockHash, Blocks, KvEvent, TokenId};
use warmroute_openai::request::Sampling;
use warmroute_openai::response::FinishReason;

use self::toy::{BLOCK, Toy};
use super::answer::Answer;
use super::{AnswerOptions, Engine, Job, Limits, RequestId, Used};

/// What a client got.
#[derive(Clone, Debug, Default, PartialEq)]
struct Got {
    tokens: Vec<TokenId>,
    text: String,
    finish: Option<FinishReason>,
}

/// The answer without engine, cache or neighbours.
fn uncached(job: &Job) -> Got {
    let toy = Toy::new(Blocks(0));
    let mut answer = Answer::new(job.options.clone());
    let mut got = Got::default();
    while got.finish.is_none() {
        let row = Toy::row(job.prompt.iter().chain(&got.tokens).copied());
        let advance = answer.advance(&row, &toy);
        got.tokens.push(advance.token);
        got.text += &advance.text;
        got.finish = advance.finish;
    }
    got
}

fn limits(blocks: u32) -> Limits {
    Limits { block_tokens: BLOCK, capacity: Blocks(blocks), prefill_tokens: 10, max_running: 6 }
}

fn engine(limits: Limits) -> Engine<Toy> {
    Engine::new(Toy::new(limits.capacity), limits)
}

fn options(max_tokens: usize) -> AnswerOptions {
    AnswerOptions { sampling: Sampling::GREEDY, seed: 0, stops: Vec::new(), max_tokens, ignore_eos: true }
}

fn job(prompt: impl IntoIterator<Item = TokenId>, max_tokens: usize) -> Job {
    Job {
        root: BlockHash(9),
        salt: None,
        prompt: prompt.into_iter().collect(),
        options: options(max_tokens),
        heard: None,
    }
}

/// Everything a run of the engine produced.
#[derive(Debug, Default)]
struct Run {
    got: BTreeMap<u64, Got>,
    used: BTreeMap<u64, Used>,
    preempted: usize,
    evicted: usize,
    /// After how many further messages evictions happen that were told, if they are told before.
    notice: Option<u64>,
    messages: u64,
}

impl Run {
    fn step(&mut self, engine: &mut Engine<Toy>) {
        let passed = self.notice.map(|notice| {
            engine.give_notice(self.messages);
            self.messages += 1;
            self.messages.saturating_sub(notice)
        });
        let scheduled = engine.schedule(passed);
        let report = engine.compute(scheduled);
        self.preempted += report.preempted;
        let removed = |event: &warmroute_kv::KvEvent| matches!(event, warmroute_kv::KvEvent::Removed { .. });
        self.evicted += report.events.iter().filter(|event| removed(event)).count();
        for (id, update) in report.updates {
            let got = self.got.entry(id.0).or_default();
            assert_eq!(got.finish, None, "request {} got a token after its end", id.0);
            got.tokens.push(update.token);
            got.text += &update.text;
            if let Some((reason, used)) = update.finish {
                got.finish = Some(reason);
                self.used.insert(id.0, used);
            }
        }
    }

    fn finish(&mut self, engine: &mut Engine<Toy>) {
        let mut steps = 0;
        while engine.is_busy() {
            self.step(engine);
            steps += 1;
            assert!(steps < 20_000, "the engine does not come to an end");
        }
        assert_eq!(engine.blocks_in_use(), Blocks::ZERO, "an idle engine holds blocks");
    }
}

#[derive(Clone, Debug)]
enum Act {
    Submit(Job),
    /// Drops the n-th request submitted so far.
    Cancel(usize),
    Steps(usize),
    Clear,
}

/// Prompts of few families that branch at few places, so that most requests share something.
fn a_job(longest: usize) -> impl Strategy<Value = Job> {
    let stops = prop_oneof![3 => Just(vec![]), 1 => Just(vec!["ab".to_owned(), "q".to_owned()])];
    let shape = (1..longest, 0_usize..30, 0_u32..3, 0_u32..4, 0_u64..2, 1_usize..12);
    (shape, stops, any::<bool>(), any::<bool>()).prop_map(
        move |((length, shared, family, branch, root, answer), stops, ignore_eos, greedy)| {
            let token =
                |place: usize| family + if place < shared { 0 } else { 5 * branch } + place as u32 % 3;
            let sampling = if greedy { Sampling::GREEDY } else { Sampling::default() };
            let max_tokens = answer.min(longest - length);
            let options = AnswerOptions { sampling, seed: root, stops, max_tokens, ignore_eos };
            Job {
                root: BlockHash(root),
                salt: None,
                prompt: (0..length).map(token).collect(),
                options,
                heard: None,
            }
        },
    )
}

/// The same, sent by somebody who had heard some of the first messages.
fn a_sent_job(longest: usize) -> impl Strategy<Value = Job> {
    (a_job(longest), proptest::option::of(0_u64..60)).prop_map(|(job, heard)| Job { heard, ..job })
}

fn acts(longest: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => a_sent_job(longest).prop_map(Act::Submit),
        1 => (0_usize..40).prop_map(Act::Cancel),
        4 => (1_usize..6).prop_map(Act::Steps),
        1 => Just(Act::Clear),
    ];
    proptest::collection::vec(act, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_equals_the_uncached_one_and_nothing_leaks(
        acts in acts(40),
        notice in proptest::option::of(0_u64..4),
    ) {
        let mut engine = engine(limits(10));
        let mut jobs = Vec::new();
        let mut cancelled = BTreeSet::new();
        let mut run = Run { notice, ..Run::default() };
        for act in acts {
            match act {
                Act::Submit(job) => {
                    engine.submit(RequestId(jobs.len() as u64), job.clone());
                    jobs.push(job);
                }
                Act::Cancel(place) => {
                    cancelled.insert(place as u64);
                    engine.retain(|id| id.0 != place as u64);
                }
                Act::Steps(count) => (0..count).for_each(|_| run.step(&mut engine)),
                Act::Clear => drop(engine.clear_cache()),
            }
        }
        run.finish(&mut engine);
        for (id, job) in (0..).zip(&jobs) {
            if cancelled.contains(&id) {
                continue;
            }
            prop_assert_eq!(&run.got[&id], &uncached(job), "request {} of prompt {:?}", id, job.prompt);
            let used = run.used[&id];
            prop_assert_eq!((used.prompt, used.answer), (job.prompt.len(), run.got[&id].tokens.len()));
            prop_assert!(used.cached < used.prompt && used.cached.is_multiple_of(BLOCK), "{:?}", used);
        }
    }
}

#[test]
fn a_small_cache_preempts_and_evicts_and_still_answers_right() {
    let mut engine = engine(limits(12));
    let jobs: Vec<Job> = (0..8).map(|own| job((0..7).map(|place| place % 2 + own), 24)).collect();
    for (id, job) in (0..).zip(&jobs) {
        engine.submit(RequestId(id), job.clone());
    }
    let mut run = Run::default();
    run.finish(&mut engine);
    assert!(run.preempted > 0 && run.evicted > 0, "{} preempted, {} evicted", run.preempted, run.evicted);
    for (id, job) in (0..).zip(&jobs) {
        assert_eq!(run.got[&id], uncached(job), "request {id}");
    }
}

#[test]
fn a_repeated_prompt_computes_only_its_last_block() {
    let mut engine = engine(limits(20));
    let mut run = Run::default();
    for (id, length) in [(0, 16), (1, 16), (2, 18), (3, 17)] {
        engine.submit(RequestId(id), job((0..length).map(|place| place % 5), 3));
        run.finish(&mut engine);
    }
    let cached: Vec<usize> = run.used.values().map(|used| used.cached).collect();
    assert_eq!(cached, [0, 12, 16, 16], "whole blocks, but never the last token of the prompt");
}

#[test]
fn an_answer_is_reused_as_part_of_the_next_prompt() {
    let mut engine = engine(limits(20));
    let mut run = Run::default();
    engine.submit(RequestId(0), job(0..6, 11));
    run.finish(&mut engine);
    let conversation: Vec<TokenId> =
        (0..6).chain(run.got[&0].tokens.iter().copied()).chain([1, 2, 3]).collect();
    engine.submit(RequestId(1), job(conversation, 2));
    run.finish(&mut engine);
    assert_eq!(run.used[&1].cached, 16, "of 6 + 11 tokens all but the last were computed: four whole blocks");
}

#[test]
fn another_salt_finds_nothing() {
    let mut engine = engine(limits(20));
    let mut run = Run::default();
    engine.submit(RequestId(0), job(0..16, 1));
    run.finish(&mut engine);
    engine.submit(RequestId(1), Job { root: BlockHash(10), ..job(0..16, 1) });
    run.finish(&mut engine);
    assert_eq!(run.used[&1].cached, 0);
    assert_eq!(
        run.got[&1].tokens, run.got[&0].tokens,
        "the namespace decides on sharing, never on the answer"
    );
}

#[test]
fn equal_prompts_that_arrive_together_are_computed_once() {
    let mut engine = engine(Limits { prefill_tokens: 8, ..limits(40) });
    for id in 0..4 {
        engine.submit(RequestId(id), job((0..32).map(|place| place % 7), 2));
    }
    let mut run = Run::default();
    run.finish(&mut engine);
    let cached: Vec<usize> = run.used.values().map(|used| used.cached).collect();
    assert_eq!(cached, [0, 28, 28, 28], "the others waited for the first one's blocks");
}

#[test]
fn a_request_that_waits_for_anothers_blocks_lets_others_pass() {
    let mut engine = engine(limits(60));
    let long = || job((0..60).map(|place| place % 7), 2);
    engine.submit(RequestId(0), long());
    engine.submit(RequestId(1), long());
    engine.submit(RequestId(2), job([9, 9, 9], 2));
    let mut run = Run::default();
    run.step(&mut engine);
    assert_eq!(run.got.keys().collect::<Vec<_>>(), [&2], "the short one has its first token");
    run.finish(&mut engine);
    assert_eq!(run.used[&1].cached, 56);
}

#[test]
fn what_a_prompt_came_for_is_evicted_last_though_its_turn_is_later() {
    let mut engine = engine(Limits { max_running: 1, ..limits(8) });
    let mut run = Run::default();
    for (id, first) in [(0, 0), (1, 100)] {
        engine.submit(RequestId(id), job(first..first + 13, 1));
        run.finish(&mut engine);
    }
    // The cache holds three blocks of each, and the first one's are the older. The newcomer takes four, and two are free.
    engine.submit(RequestId(2), job(200..213, 1));
    engine.submit(RequestId(3), job(0..13, 1));
    run.finish(&mut engine);
    assert_eq!((run.used[&3].cached, run.evicted > 0), (12, true));
}

/// A cache of eight blocks with three of each of two prompts in it, and a third prompt that takes four and has been given notice of, in the
/// first message, to the two oldest.
fn with_notice_given() -> (Engine<Toy>, Run) {
    let (mut engine, mut run) = (engine(limits(8)), Run::default());
    for (id, first) in [(0, 0), (1, 100)] {
        engine.submit(RequestId(id), job(first..first + 13, 1));
        run.finish(&mut engine);
    }
    engine.submit(RequestId(2), job(200..213, 1));
    let told = engine.give_notice(0);
    assert!(matches!(&told[..], [KvEvent::Removed { blocks }] if blocks.len() == 2), "{told:?}");
    (engine, run)
}

#[test]
fn who_needs_room_that_was_given_notice_of_waits_until_the_notice_has_passed() {
    let (mut engine, mut run) = with_notice_given();
    let waits = engine.schedule(Some(0));
    assert!(waits.is_idle());
    drop(engine.compute(waits));
    let goes = engine.schedule(Some(1));
    assert!(!goes.is_idle());
    drop(engine.compute(goes));
    run.finish(&mut engine);
}

#[test]
fn what_is_to_go_is_there_for_who_could_not_know_and_gone_for_who_could() {
    for (heard, restored, cached) in [(None, 0, 4), (Some(1), 0, 4), (Some(0), 1, 12)] {
        let (mut engine, mut run) = with_notice_given();
        let back = engine.submit(RequestId(3), Job { heard, ..job(0..13, 1) });
        assert_eq!(back.len(), restored, "heard {heard:?}");
        run.finish(&mut engine);
        assert_eq!(run.used[&3].cached, cached, "heard {heard:?}");
    }
}

#[test]
fn who_waits_keeps_what_comes_in_for_it_though_others_need_room() {
    let mut engine = engine(Limits { max_running: 1, ..limits(8) });
    let mut run = Run::default();
    for (id, first) in [(0, 0), (1, 100), (2, 200), (3, 0)] {
        engine.submit(RequestId(id), job(first..first + 13, 1));
    }
    run.finish(&mut engine);
    assert_eq!(
        (run.used[&3].cached, run.evicted > 0),
        (12, true),
        "the first one's blocks were held for the last"
    );
}

#[test]
fn a_long_prompt_does_not_stall_a_running_answer() {
    let mut engine = engine(limits(40));
    let mut run = Run::default();
    engine.submit(RequestId(0), job([1, 2, 3], 20));
    run.step(&mut engine);
    engine.submit(RequestId(1), job((0..95).map(|place| place % 11), 2));
    for step in 0..10 {
        let before = run.got[&0].tokens.len();
        run.step(&mut engine);
        assert_eq!(run.got[&0].tokens.len(), before + 1, "no token in step {step} of the long prompt");
    }
    assert_eq!(run.got[&1].tokens.len(), 1, "95 tokens at 10 a step");
    assert!(engine.model().spans.iter().flatten().all(|tokens| *tokens <= 10));
}

#[test]
fn a_cancelled_request_frees_its_blocks_at_once() {
    let mut engine = engine(limits(20));
    engine.submit(RequestId(0), job(0..20, 30));
    engine.submit(RequestId(1), job(5..20, 3));
    Run::default().step(&mut engine);
    assert!(engine.blocks_in_use() > Blocks::ZERO);
    engine.retain(|_| false);
    assert_eq!(engine.blocks_in_use(), Blocks::ZERO);
    assert!(!engine.is_busy());
}

#[test]
fn a_cleared_cache_is_cold_while_running_requests_go_on() {
    let mut engine = engine(limits(20));
    let mut run = Run::default();
    engine.submit(RequestId(0), job(0..16, 9));
    (0..4).for_each(|_| run.step(&mut engine));
    engine.clear_cache();
    engine.submit(RequestId(1), job(0..16, 1));
    run.finish(&mut engine);
    assert_eq!(run.used[&1].cached, 0);
    assert_eq!(run.got[&0], uncached(&job(0..16, 9)));
}
