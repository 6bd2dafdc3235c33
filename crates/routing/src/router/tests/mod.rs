//! The router before small fleets: one thing at a time.

mod gateways;

use std::collections::VecDeque;
use std::time::Duration;

use warmroute_kv::{BlockHash, KvEvent};

use super::*;
use crate::{Publishes, Unit, Usage, WorkerSpec};

const ROOT: BlockHash = BlockHash(0);

/// A router under the default policy, before workers that hold 4,000 tokens each.
fn router(workers: u32, publishes: Publishes) -> Router {
    let mut router = Router::new(Settings::default());
    for id in 0..workers {
        router.observe(joined(id, publishes), Time::ZERO);
    }
    router
}

/// A router before workers whose caches nothing in a test fills.
fn spacious(workers: u32) -> Router {
    let mut router = Router::new(Settings::default());
    for id in 0..workers {
        let spec = WorkerSpec { capacity: Some(Tokens(1 << 24)), publishes: Publishes::Nothing };
        router.observe(Event::Joined { worker: WorkerId(id), spec }, Time::ZERO);
    }
    router
}

fn joined(id: u32, publishes: Publishes) -> Event {
    Event::Joined { worker: WorkerId(id), spec: WorkerSpec { capacity: Some(Tokens(4_000)), publishes } }
}

/// Names of `count` blocks that nothing else has in common with.
fn blocks(first: u64, count: u64) -> Vec<BlockHash> {
    (first * 1_000..first * 1_000 + count).map(BlockHash).collect()
}

fn serve(router: &mut Router, prompt: &[BlockHash], now: Time) -> Decision {
    let decision = router.route(&Request::new(ROOT, prompt), now).unwrap();
    router.observe(Event::Finished { booking: decision.booking, usage: None }, now);
    decision
}

#[test]
fn affinity_ends_where_the_queue_costs_more_than_the_saving() {
    let mut router = spacious(2);
    let shared = blocks(1, 40);
    let warm = serve(&mut router, &shared, Time::ZERO).worker;
    let mut stayed = 0;
    let reason = loop {
        let question = [shared.clone(), blocks(100 + stayed, 20)].concat();
        let decision = router.route(&Request::new(ROOT, &question), Time::ZERO).unwrap();
        if decision.worker != warm {
            break decision.reason;
        }
        assert_eq!((decision.overlap, decision.reason), (Tokens(640), Reason::Prefix));
        stayed += 1;
    };
    // Each has 320 tokens to read there, and 960 elsewhere. One in front is a wait of 320 at one and a half times its length and 100 for
    // being in flight; and the time of whoever has all that is in flight is a third dearer, where prompts are reused.
    assert_eq!(stayed, 1, "so many waited where reading 640 tokens more elsewhere was cheaper");
    assert_eq!(reason, Reason::Spill);
}

#[test]
fn whole_answers_that_come_soon_show_that_nobody_waits_long() {
    let mut router = spacious(2);
    let mut answers = VecDeque::new();
    let mut ask = |prompt: &[BlockHash], sent_ms: u64, takes_ms: u64| {
        let now = Time::from_millis(sent_ms);
        while let Some((booking, ended)) = answers.pop_front_if(|(_, ended)| *ended <= now) {
            router.observe(Event::Finished { booking, usage: None }, ended);
        }
        let request = Request { tells_first_token: false, ..Request::new(ROOT, prompt) };
        let decision = router.route(&request, now).unwrap();
        answers.push_back((decision.booking, Time::from_millis(sent_ms + takes_ms)));
        decision
    };
    // 480 tokens in 10 ms are 21 us for each, a fifth of what is guessed at first.
    for number in 0..20 {
        ask(&blocks(500 + number, 30), 20 * number, 10);
    }
    let shared = blocks(1, 40);
    let warm = ask(&shared, 1_000, 10).worker;
    // From now on answers are long: six are under way at any time, and all of them but the last have been read.
    for number in 0..50 {
        let question = [shared.clone(), blocks(100 + number, 20)].concat();
        let decision = ask(&question, 1_100 + 8 * number, 48);
        assert_eq!((decision.worker, decision.reason), (warm, Reason::Prefix), "question {number}");
    }
}

#[test]
fn with_nothing_to_reuse_the_choice_is_least_work() {
    let mut router = spacious(4);
    // Prompts are taken to be reused until so many were not.
    for number in 0..4_000 {
        serve(&mut router, &blocks(1_000 + number, 1), Time::ZERO);
    }
    let mut chance = Chance::new(9);
    let mut work = [0_usize; 4];
    for number in 0..400 {
        let prompt = blocks(number + 1, 1 + chance.below(100) as u64);
        let decision = router.route(&Request::new(ROOT, &prompt), Time::ZERO).unwrap();
        let chosen = decision.worker.0 as usize;
        assert_eq!(
            work[chosen],
            *work.iter().min().unwrap(),
            "request {number} went past less work: {work:?}"
        );
        assert_eq!(decision.reason, Reason::LeastLoad);
        // In half tokens: a second of waiting has the price of one and a half; each request in flight that of 100 tokens.
        work[chosen] += 3 * prompt.len() * 16 + 200;
    }
}

#[test]
fn a_worker_that_restarted_is_taken_for_cold() {
    for publishes in [Publishes::Nothing, Publishes::Events] {
        let mut router = router(2, publishes);
        let prompt = blocks(1, 10);
        let worker = serve(&mut router, &prompt, Time::ZERO).worker;
        let event = KvEvent::Stored { parent: ROOT, blocks: prompt.clone() };
        router.observe(Event::Kv { worker, event }, Time::ZERO);
        assert_eq!(serve(&mut router, &prompt, Time::ZERO).overlap, Tokens(144));
        router.observe(joined(worker.0, publishes), Time::ZERO);
        assert_eq!(serve(&mut router, &prompt, Time::ZERO).overlap, Tokens(0), "{publishes:?}");
    }
}

#[test]
fn a_worker_that_tells_is_believed_and_one_with_a_shadow_is_not_asked() {
    let mut router = router(2, Publishes::Events);
    router.observe(joined(1, Publishes::Nothing), Time::ZERO);
    for worker in [WorkerId(0), WorkerId(1)] {
        let event = KvEvent::Stored { parent: ROOT, blocks: blocks(u64::from(worker.0) + 1, 4) };
        router.observe(Event::Kv { worker, event }, Time::ZERO);
    }
    assert_eq!(router.indexed_blocks(), 4, "only the first worker speaks for itself");
    assert_eq!(serve(&mut router, &blocks(1, 4), Time::ZERO).overlap, Tokens(48));
    assert_eq!(serve(&mut router, &blocks(2, 4), Time::ZERO).overlap, Tokens(0));
}

#[test]
fn bytes_become_tokens_at_the_rate_that_workers_report() {
    let mut router = router(1, Publishes::Nothing);
    let prompt = blocks(1, 100);
    let request =
        Request { unit: Unit::Bytes, prompt: 6_400, block: 64.into(), ..Request::new(ROOT, &prompt) };
    assert_eq!(
        router.route(&request, Time::ZERO).unwrap().prompt,
        Tokens(1_600),
        "four bytes a token at first"
    );
    for _ in 0..100 {
        let booking = router.route(&request, Time::ZERO).unwrap().booking;
        let usage = Usage { prompt: Tokens(3_200), cached: Some(Tokens(3_000)), output: Tokens(8) };
        router.observe(Event::Finished { booking, usage: Some(usage) }, Time::ZERO);
    }
    let learned = router.route(&request, Time::ZERO).unwrap().prompt;
    assert!(learned.0.abs_diff(3_200) < 100, "two bytes a token now: {learned}");
    let view = router.workers().next().unwrap();
    assert_eq!(view.reported_tokens, 300_000);
    assert!(view.predicted_tokens > 250_000, "{view:?}");
}

#[test]
fn queued_work_ends_with_the_first_token_and_follows_a_retry() {
    let mut router = router(2, Publishes::Nothing);
    let decision = router.route(&Request::new(ROOT, &blocks(1, 10)), Time::ZERO).unwrap();
    let (booking, to) = (decision.booking, decision.fallbacks[0]);
    let load =
        |router: &Router| router.workers().map(|one| (one.in_flight, one.queued.0)).collect::<Vec<_>>();
    assert_eq!(load(&router), [(1, 160), (0, 0)]);
    router.observe(Event::Moved { booking, to }, Time::ZERO + Duration::from_millis(1));
    assert_eq!(load(&router), [(0, 0), (1, 160)]);
    router.observe(Event::FirstToken { booking }, Time::ZERO);
    assert_eq!(load(&router), [(0, 0), (1, 0)]);
    router.observe(Event::Finished { booking, usage: None }, Time::ZERO);
    assert_eq!(load(&router), [(0, 0), (0, 0)]);
}

#[test]
fn what_is_believed_stays_within_its_memory_however_many_prompts_and_workers_come() {
    for (bytes, length) in [(1 << 20, 1), (1 << 20, 40), (8 << 20, 3)] {
        let mut router = Router::new(Settings { memory_bytes: Some(bytes), ..Settings::default() });
        let mut chance = Chance::new(3);
        for prompt in 0..40_000_u64 {
            if prompt.is_multiple_of(10_000) {
                let worker = WorkerId((prompt / 10_000) as u32);
                let spec = WorkerSpec { capacity: Some(Tokens(1 << 30)), publishes: Publishes::Nothing };
                router.observe(Event::Joined { worker, spec }, Time::ZERO);
            }
            let text: Vec<u8> = (0..8 * length).map(|_| chance.below(256) as u8).collect();
            let blocks: Vec<_> = warmroute_kv::text_chain(BlockHash(prompt), &text, 8).collect();
            let decision = router.route(&Request::new(BlockHash(prompt), &blocks), Time::ZERO).unwrap();
            router.observe(Event::Finished { booking: decision.booking, usage: None }, Time::ZERO);
        }
        let taken = router.memory_bytes();
        assert!(
            (bytes / 8..=bytes).contains(&taken),
            "{taken} of {bytes} bytes for prompts of {length} blocks"
        );
    }
}

fn held(router: &Router, prompt: &[BlockHash]) -> usize {
    router.leading_blocks(WorkerId(0), prompt)
}

#[test]
fn whoever_speaks_for_a_cache_the_index_holds_what_it_says_and_bookings_stay() {
    let mut router = router(1, Publishes::Nothing);
    let prompt = blocks(1, 10);
    let told = |publishes| Event::Told { worker: WorkerId(0), publishes };
    let stored = |blocks: &[BlockHash]| Event::Kv {
        worker: WorkerId(0),
        event: KvEvent::Stored { parent: ROOT, blocks: blocks.to_vec() },
    };
    let open = router.route(&Request::new(ROOT, &prompt), Time::ZERO).unwrap();
    router.observe(stored(&blocks(2, 3)), Time::ZERO);
    assert_eq!((held(&router, &prompt), held(&router, &blocks(2, 3))), (10, 0), "a shadow speaks");
    router.observe(told(Publishes::Events), Time::ZERO);
    assert_eq!((router.indexed_blocks(), router.in_flight_at(WorkerId(0))), (0, 1));
    router.observe(stored(&prompt[..4]), Time::ZERO);
    router.observe(told(Publishes::Events), Time::ZERO);
    assert_eq!(held(&router, &prompt), 4, "that was nothing new");
    router.observe(Event::Finished { booking: open.booking, usage: None }, Time::ZERO);
    assert_eq!((router.in_flight(), router.indexed_blocks()), (0, 4), "answers teach it nothing");
    router.observe(told(Publishes::Nothing), Time::ZERO);
    assert_eq!(router.indexed_blocks(), 0);
    serve(&mut router, &prompt, Time::ZERO);
    assert_eq!(held(&router, &prompt), 10);
    router.observe(told(Publishes::Events), Time::ZERO);
    assert_eq!((router.indexed_blocks(), router.workers().next().unwrap().up), (0, true));
}

#[test]
fn an_engine_computes_at_least_the_last_token_whatever_it_holds() {
    let mut router = router(1, Publishes::Events);
    let prompt = blocks(1, 10);
    let event = KvEvent::Stored { parent: ROOT, blocks: prompt.clone() };
    router.observe(Event::Kv { worker: WorkerId(0), event }, Time::ZERO);
    for (tokens, reused) in [(160, 144), (161, 160), (170, 160)] {
        let request = Request { prompt: tokens, ..Request::new(ROOT, &prompt) };
        let decision = router.route(&request, Time::ZERO).unwrap();
        assert_eq!((decision.overlap, decision.told.is_some()), (Tokens(reused), true), "of {tokens}");
        router.observe(Event::Aborted { booking: decision.booking }, Time::ZERO);
    }
}

#[test]
fn what_a_worker_reads_before_it_comes_to_a_prompt_is_foreseen_to_the_block() {
    let mut router = router(1, Publishes::Events);
    let first = blocks(1, 40);
    let open = router.route(&Request::new(ROOT, &first), Time::ZERO).unwrap();
    let second = [&first[..37], &blocks(2, 5)].concat();
    let decision = router.route(&Request::new(ROOT, &second), Time::ZERO).unwrap();
    assert_eq!(decision.overlap, Tokens(37 * 16));
    router.observe(Event::Aborted { booking: open.booking }, Time::ZERO);
    router.observe(Event::Aborted { booking: decision.booking }, Time::ZERO);
    let third = router.route(&Request::new(ROOT, &second), Time::ZERO).unwrap();
    assert_eq!(third.overlap, Tokens::ZERO, "nobody is going to read it");
}

#[test]
fn what_was_told_and_evicted_before_its_answer_came_is_not_expected() {
    let mut router = router(1, Publishes::Events);
    let hear = |router: &mut Router, event| {
        router.observe(Event::Kv { worker: WorkerId(0), event }, Time::ZERO);
    };
    let prompt = blocks(1, 10);
    let mut asked = 0;
    let mut expected = |router: &mut Router| {
        asked += 1;
        let longer = [&prompt[..], &blocks(10 + asked, 5)].concat();
        let decision = router.route(&Request::new(ROOT, &longer), Time::ZERO).unwrap();
        router.observe(Event::Aborted { booking: decision.booking }, Time::ZERO);
        decision.overlap
    };
    // The first is new to the worker, the second finds all of it there.
    for _ in 0..2 {
        let open = router.route(&Request::new(ROOT, &prompt), Time::ZERO).unwrap();
        hear(&mut router, KvEvent::Stored { parent: ROOT, blocks: prompt.clone() });
        assert_eq!(expected(&mut router), Tokens(160));
        hear(&mut router, KvEvent::Removed { blocks: prompt[4..].to_vec() });
        assert_eq!(expected(&mut router), Tokens(64), "while it is answered");
        router.observe(Event::Finished { booking: open.booking, usage: None }, Time::ZERO);
        assert_eq!(expected(&mut router), Tokens(64), "once it is");
        hear(&mut router, KvEvent::Stored { parent: prompt[3], blocks: prompt[4..].to_vec() });
    }
}
