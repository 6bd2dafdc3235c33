//! One engine, stepped by hand.

use proptest::prelude::*;

use super::*;
use crate::hash::{BlockHash, text_chain};

const BLOCK: u32 = 16;

/// A prompt of whole blocks and the length of its answer.
#[derive(Clone, Debug)]
struct Ask {
    blocks: Vec<BlockHash>,
    output: u32,
}

impl Work for Ask {
    fn root(&self) -> BlockHash {
        BlockHash(0)
    }

    fn blocks(&self) -> &[BlockHash] {
        &self.blocks
    }

    fn prompt(&self) -> Tokens {
        Tokens(self.blocks.len() as u32 * BLOCK)
    }

    fn answer(&self) -> Tokens {
        Tokens(self.output)
    }
}

fn engine(cache: u32) -> Engine<Ask> {
    Engine::new(EngineSpec::new(StepTime::Model(EngineModel::H100), Tokens(cache), Tokens(BLOCK)))
}

/// A prompt made of one letter a block; prompts share what they spell alike.
fn ask(spelt: &str, output: u32) -> Ask {
    Ask { blocks: text_chain(BlockHash(0), spelt.as_bytes(), 1).collect(), output }
}

/// Steps until nothing is left to do, and tells everything that was signalled with the seconds at which it was.
fn run(engine: &mut Engine<Ask>) -> Vec<(f64, Signal)> {
    let (mut now, mut told, mut signals) = (0.0, Vec::new(), Vec::new());
    for _ in 0..100_000 {
        let step = engine.begin_step(&mut signals);
        told.extend(signals.drain(..).map(|signal| (now, signal)));
        let Some(step) = step else { return told };
        now += step.as_secs_f64();
        engine.end_step(&mut signals);
        told.extend(signals.drain(..).map(|signal| (now, signal)));
    }
    panic!("the engine never came to an end");
}

fn names(told: &[(f64, Signal)]) -> Vec<Signal> {
    told.iter().map(|(_, signal)| *signal).collect()
}

#[test]
fn a_prompt_is_read_in_one_step_and_each_further_token_takes_another() {
    let mut engine = engine(1_000);
    engine.enqueue(Job::new(RequestId(7), ask("abcd", 3)));
    let told = run(&mut engine);
    let id = RequestId(7);
    assert_eq!(names(&told), [Signal::FirstToken { id, cached: Tokens(0) }, Signal::Done { id }]);
    let read = 12e-3 + 40e-6 + 64.0 * 44e-6 + 64.0 * 64.0 / 2.0 * 0.6e-9;
    assert!((told[0].0 - read).abs() < 1e-6, "{} s, not {read}", told[0].0);
    let answered = read + 2.0 * (12e-3 + 40e-6) + (64.0 + 65.0) * 76e-9;
    assert!((told[1].0 - answered).abs() < 1e-6, "{} s, not {answered}", told[1].0);
    assert_eq!(engine.prefilled, 64);
}

#[test]
fn a_prompt_that_was_read_before_computes_only_its_last_block() {
    let mut engine = engine(1_000);
    for number in 0..2 {
        engine.enqueue(Job::new(RequestId(number), ask("abcd", 1)));
        let told = names(&run(&mut engine));
        let cached = Tokens(if number == 0 { 0 } else { 48 });
        assert!(told.contains(&Signal::FirstToken { id: RequestId(number), cached }), "{told:?}");
    }
    assert_eq!(engine.prefilled, 64 + 16);
}

#[test]
fn a_prompt_larger_than_the_cache_is_refused() {
    let mut engine = engine(64);
    engine.enqueue(Job::new(RequestId(0), ask("abcde", 1)));
    engine.enqueue(Job::new(RequestId(1), ask("abc", 1)));
    assert_eq!(names(&run(&mut engine))[0], Signal::Refused { id: RequestId(0) });
    assert_eq!(engine.jobs(), 0, "the one behind it is answered");
}

#[test]
fn answers_that_outgrow_the_cache_take_the_memory_of_the_one_admitted_last() {
    let mut engine = engine(10 * BLOCK);
    for (number, spelt) in ["abc", "xyz"].into_iter().enumerate() {
        engine.enqueue(Job::new(RequestId(number), ask(spelt, 6 * BLOCK)));
    }
    let told = names(&run(&mut engine));
    assert!(engine.preemptions > 0, "two answers of six blocks do not fit into ten");
    let done: Vec<_> = told.iter().filter(|signal| matches!(signal, Signal::Done { .. })).collect();
    assert_eq!(done, [&Signal::Done { id: RequestId(0) }, &Signal::Done { id: RequestId(1) }]);
    let first = told.iter().filter(|signal| matches!(signal, Signal::FirstToken { .. })).count();
    assert_eq!(first, 2, "a request that begins again does not tell its first token again");
}

proptest! {
    /// Whatever comes: every request ends once, and nothing stays held.
    #[test]
    fn random_requests_all_end_and_give_back_their_memory(
        blocks in 8_u32..48,
        asked in prop::collection::vec(("[ab]{1,12}", 1_u32..61), 1..41),
    ) {
        let mut engine = engine(BLOCK * blocks);
        for (number, (spelt, output)) in asked.iter().enumerate() {
            engine.enqueue(Job::new(RequestId(number), ask(spelt, *output)));
        }
        let ended = |signal: &Signal| match signal {
            Signal::Done { id } | Signal::Refused { id } => Some(id.0),
            Signal::FirstToken { .. } => None,
        };
        let mut ends: Vec<usize> = names(&run(&mut engine)).iter().filter_map(ended).collect();
        ends.sort_unstable();
        prop_assert_eq!(ends, (0..asked.len()).collect::<Vec<_>>());
        prop_assert_eq!(engine.pool.available(), engine.pool.capacity());
    }
}

#[test]
fn a_request_that_nobody_waits_for_gives_back_its_memory_in_the_middle_of_a_step() {
    let mut engine = engine(20 * BLOCK);
    for number in 0..3 {
        engine.enqueue(Job::new(RequestId(number), ask(&"abc"[number..], 50)));
    }
    engine.begin_step(&mut Vec::new());
    engine.cancel(RequestId(0));
    engine.cancel(RequestId(2));
    engine.end_step(&mut Vec::new());
    assert_eq!(names(&run(&mut engine)).last(), Some(&Signal::Done { id: RequestId(1) }));
    assert_eq!(engine.pool.available(), engine.pool.capacity());
}

#[test]
fn a_step_computes_no_more_requests_and_tokens_than_it_may() {
    let mut engine = engine(1_000);
    engine.spec = EngineSpec { most_requests: 2, chunk: Tokens(40), ..engine.spec };
    for (number, spelt) in ["abc", "xyz", "efg"].into_iter().enumerate() {
        engine.enqueue(Job::new(RequestId(number), ask(spelt, 2)));
    }
    engine.begin_step(&mut Vec::new());
    assert_eq!((engine.running(), engine.load().prefill), (1, 40), "the first prompt takes the whole step");
    engine.end_step(&mut Vec::new());
    engine.begin_step(&mut Vec::new());
    assert_eq!((engine.running(), engine.load().prefill), (2, 40), "then its rest and most of the second");
}

#[test]
fn a_dead_engine_gives_its_requests_back_and_its_cache_up() {
    let mut engine = engine(1_000);
    for number in 0..3 {
        engine.enqueue(Job::new(RequestId(number), ask("abcd", 50)));
        engine.begin_step(&mut Vec::new());
    }
    engine.end_step(&mut Vec::new());
    let jobs = engine.die();
    assert_eq!(jobs.iter().map(|job| job.id.0).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((engine.jobs(), engine.pool.resident().0), (0, 0));
}
