//! One of several gateways.

use super::*;
use crate::{BookingId, Distant, Elsewhere, Prompt};

/// One of two gateways before the same four workers. Each has told the other of ten requests under way, evenly spread.
fn one_of_two(which: u32) -> Router {
    let mut router = router(4, Publishes::Events);
    let of = std::num::NonZeroU32::new(2).unwrap();
    router.observe(Event::Shared { part: Part { which, of } }, Time::ZERO);
    for worker in (0..4).map(WorkerId) {
        let load = Elsewhere { in_flight: 10, ..Elsewhere::default() };
        router.observe(Event::Elsewhere { worker, load }, Time::ZERO);
    }
    router
}

#[test]
fn gateways_that_decide_at_the_same_time_decide_for_different_workers() {
    let mut gateways = [0, 1].map(one_of_two);
    let mut chosen: Vec<u32> = (0..4_u64)
        .map(|number| {
            let gateway = &mut gateways[number as usize % 2];
            gateway.route(&Request::new(ROOT, &blocks(number + 1, 20)), Time::ZERO).unwrap().worker.0
        })
        .collect();
    chosen.sort_unstable();
    assert_eq!(chosen, [0, 1, 2, 3], "though each saw four workers that were alike");
}

/// A prompt of 40 blocks of which a worker holds so many goes there, whichever gateway it comes to.
fn goes_to_its_state(held: usize) {
    for which in [0, 1] {
        let mut router = one_of_two(which);
        let prompt = blocks(1, 40);
        let event = KvEvent::Stored { parent: ROOT, blocks: prompt[..held].to_vec() };
        router.observe(Event::Kv { worker: WorkerId(2), event }, Time::ZERO);
        let decision = router.route(&Request::new(ROOT, &prompt), Time::ZERO).unwrap();
        assert_eq!((decision.worker, decision.reason), (WorkerId(2), Reason::Prefix), "gateway {which}");
    }
}

#[test]
fn a_prompt_goes_to_its_state_on_another_gateways_worker() {
    goes_to_its_state(38);
}

/// Turns of a conversation come to gateways in turn. What was new in them was dear on another gateway's worker however much that worker
/// held, so that each turn was read in full where its gateway is the first to fill.
#[test]
fn a_turn_that_adds_a_sixth_to_a_conversation_is_not_read_anew_because_it_comes_to_another_gateway() {
    goes_to_its_state(34);
}

#[test]
fn gateways_that_number_workers_otherwise_still_decide_for_different_ones() {
    let mut gateways = [0, 1].map(one_of_two);
    // What the first calls 0 and 1 the second calls 1 and 0: by the order of their names it is the first's numbers that count.
    for (worker, place) in [(0, 1), (1, 0), (2, 3), (3, 2)] {
        gateways[1].observe(Event::Placed { worker: WorkerId(worker), place }, Time::ZERO);
    }
    let mut chosen: Vec<u32> = (0..4_u64)
        .map(|number| {
            let which = number as usize % 2;
            let prompt = blocks(number + 1, 20);
            let worker = gateways[which].route(&Request::new(ROOT, &prompt), Time::ZERO).unwrap().worker.0;
            if which == 1 { worker ^ 1 } else { worker }
        })
        .collect();
    chosen.sort_unstable();
    assert_eq!(chosen, [0, 1, 2, 3]);
}

fn distant(booking: u64) -> Distant {
    Distant { gateway: 7, booking: BookingId(booking) }
}

/// Another gateway sends a worker this.
fn sent(booking: u64, worker: u32, prompt: &[BlockHash]) -> Event {
    let prompt = Prompt::of(&Request::new(ROOT, prompt));
    Event::Sent { request: distant(booking), worker: WorkerId(worker), prompt }
}

/// And it is answered.
fn ended(booking: u64, output: u32) -> Event {
    let usage = Usage { prompt: Tokens(160), cached: None, output: Tokens(output) };
    Event::Ended { request: distant(booking), usage: Some(usage) }
}

#[test]
fn what_another_gateway_sent_to_a_worker_that_publishes_nothing_is_held_there_and_nothing_is_booked() {
    let mut router = router(2, Publishes::Nothing);
    let prompt = blocks(1, 10);
    router.observe(sent(0, 1, &prompt), Time::ZERO);
    let load = |view: WorkerView| (view.in_flight, view.unread, view.queued, view.active);
    assert!(router.workers().map(load).all(|load| load == (0, 0, Tokens(0), Tokens(0))));
    let decision = serve(&mut router, &prompt, Time::ZERO);
    let expected = (WorkerId(1), Reason::Prefix, Tokens(144));
    assert_eq!((decision.worker, decision.reason, decision.overlap), expected);
}

#[test]
fn what_another_gateway_sent_was_seen_before_though_its_worker_has_evicted_it() {
    let mut router = router(1, Publishes::Nothing);
    let prompt = blocks(1, 10);
    // 4,000 tokens and more come after it.
    for other in 1..30 {
        router.observe(sent(other, 0, &blocks(other, 10)), Time::ZERO);
        router.observe(ended(other, 0), Time::ZERO);
    }
    assert_eq!(held(&router, &prompt), 0);
    let fate = serve(&mut router, &prompt, Time::ZERO).fate;
    assert_eq!((fate.lost_to_eviction, fate.unseen), (Tokens(160), Tokens(0)));
}

#[test]
fn what_another_gateways_request_reads_is_kept_until_its_end_and_its_answer_takes_room() {
    let mut router = router(1, Publishes::Nothing);
    let prompt = blocks(1, 10);
    router.observe(sent(1, 0, &prompt), Time::ZERO);
    router.observe(Event::Read { request: distant(1) }, Time::ZERO);
    (100..140).for_each(|other| _ = serve(&mut router, &blocks(other, 10), Time::ZERO));
    let after = |router: &Router| {
        [held(router, &prompt), held(router, &blocks(120, 10)), held(router, &blocks(139, 10))]
    };
    assert_eq!(after(&router), [10, 10, 10], "it is being answered, and there are 240 other blocks");
    router.observe(ended(1, 3_200), Time::ZERO);
    assert_eq!(after(&router), [10, 0, 10], "its answer took 200 of them");
    (200..230).for_each(|other| _ = serve(&mut router, &blocks(other, 10), Time::ZERO));
    assert_eq!(after(&router), [0, 0, 0], "nobody keeps it any more");
}

#[test]
fn a_distant_request_that_moves_is_kept_where_it_is_and_what_is_heard_of_no_more_is_let_go() {
    let mut router = router(2, Publishes::Nothing);
    let prompt = blocks(1, 10);
    router.observe(sent(1, 0, &prompt), Time::ZERO);
    router.observe(sent(1, 1, &prompt), Time::ZERO);
    router.observe(sent(2, 0, &prompt), Time::ZERO);
    assert_eq!(router.distant.len(), 2);
    router.observe(Event::Unheard { gateway: 8 }, Time::ZERO);
    assert_eq!(router.distant.len(), 2, "that is another one");
    router.observe(Event::Unheard { gateway: 7 }, Time::ZERO);
    assert_eq!(router.distant.len(), 0);
    (100..160).for_each(|other| _ = serve(&mut router, &blocks(other, 10), Time::ZERO));
    assert_eq!(
        (held(&router, &prompt), router.leading_blocks(WorkerId(1), &prompt)),
        (0, 0),
        "nobody keeps it"
    );
}

#[test]
fn what_another_gateway_sent_changes_nothing_where_the_worker_publishes_or_is_gone() {
    let mut router = router(2, Publishes::Nothing);
    router.observe(joined(0, Publishes::Events), Time::ZERO);
    router.observe(Event::Left { worker: WorkerId(1) }, Time::ZERO);
    (0..3).for_each(|worker| router.observe(sent(worker.into(), worker, &blocks(1, 10)), Time::ZERO));
    assert_eq!((router.indexed_blocks(), router.distant.len()), (0, 0));
    assert_eq!(serve(&mut router, &blocks(1, 10), Time::ZERO).fate.unseen, Tokens(160));
}

#[test]
fn a_request_under_way_can_be_told_of_as_it_was_asked() {
    let mut router = router(1, Publishes::Nothing);
    let prompt = blocks(1, 4);
    let block = warmroute_kv::BlockLength::widening(256);
    for unit in [Unit::Tokens, Unit::Bytes] {
        let request = Request { unit, block, ..Request::new(ROOT, &prompt) };
        let booking = router.route(&request, Time::ZERO).unwrap().booking;
        assert_eq!(router.prompt(booking), Some(Prompt::of(&request)));
        router.observe(Event::Aborted { booking }, Time::ZERO);
        assert_eq!(router.prompt(booking), None);
    }
}

#[test]
fn what_others_sent_is_kept_within_the_same_memory() {
    let bytes = 1 << 20;
    let mut router = Router::new(Settings { memory_bytes: Some(bytes), ..Settings::default() });
    let spec = WorkerSpec { capacity: Some(Tokens(1 << 30)), publishes: Publishes::Nothing };
    router.observe(Event::Joined { worker: WorkerId(0), spec }, Time::ZERO);
    for number in 0..4_000 {
        router.observe(sent(number, 0, &blocks(number, 40)), Time::ZERO);
        router.observe(ended(number, 100), Time::ZERO);
    }
    let taken = router.memory_bytes();
    assert!((bytes / 8..=bytes).contains(&taken), "{taken} of {bytes} bytes");
}

#[test]
fn so_many_requests_of_others_are_followed_and_no_more() {
    let mut router = router(1, Publishes::Nothing);
    (0..20_000).for_each(|number| router.observe(sent(number, 0, &blocks(number, 1)), Time::ZERO));
    assert_eq!(router.distant.len(), 1 << 13);
    router.observe(Event::Unheard { gateway: 7 }, Time::ZERO);
    assert_eq!(held(&router, &blocks(19_999, 1)), 1, "it was taken in all the same");
}

#[test]
fn a_gateway_that_is_the_first_nowhere_decides_by_load() {
    let mut router = router(2, Publishes::Events);
    let of = std::num::NonZeroU32::new(3).unwrap();
    router.observe(Event::Shared { part: Part { which: 2, of } }, Time::ZERO);
    for (worker, in_flight) in [(WorkerId(0), 10), (WorkerId(1), 9)] {
        let load = Elsewhere { in_flight, ..Elsewhere::default() };
        router.observe(Event::Elsewhere { worker, load }, Time::ZERO);
    }
    let decision = router.route(&Request::new(ROOT, &blocks(1, 20)), Time::ZERO).unwrap();
    assert_eq!((decision.worker, decision.reason), (WorkerId(1), Reason::LeastLoad));
}
