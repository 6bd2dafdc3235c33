//! What every policy owes, checked for each one in the list.

use warmroute_kv::{BlockHash, KvEvent, Tokens};

use super::{POLICIES, PolicyConfig};
use crate::{
    BookingId, Chance, Decision, Distant, Event, NoWorker, Prompt, Publishes, Request, Router, Settings,
    Text, Time, WorkerId, WorkerSpec,
};

/// Every second worker tells what its cache does.
fn spec(id: u32) -> WorkerSpec {
    let publishes = if id.is_multiple_of(2) { Publishes::Nothing } else { Publishes::Events };
    WorkerSpec { capacity: Some(Tokens(1_000)), publishes }
}

fn router(policy: PolicyConfig, workers: u32) -> Router {
    let mut router = Router::new(Settings { policy, seed: 11, ..Settings::default() });
    for id in 0..workers {
        router.observe(Event::Joined { worker: WorkerId(id), spec: spec(id) }, Time::ZERO);
    }
    router
}

fn every_policy() -> impl Iterator<Item = PolicyConfig> {
    POLICIES.iter().map(PolicyConfig::of)
}

/// One random life of a fleet: what was decided, with everything told back at random. Ends with no request under way.
fn live(router: &mut Router, seed: u64) -> Vec<Decision> {
    let mut chance = Chance::new(seed);
    let (mut open, mut decided) = (Vec::new(), Vec::new());
    let mut now = Time::ZERO;
    for step in 0..2_000_u64 {
        now = Time::from_millis(step * 7);
        match chance.below(12) {
            0..6 => {
                let text = format!("desk {:03}: a question", chance.below(20));
                let blocks: Vec<_> = (0..8)
                    .map(|n| BlockHash(text.len() as u64 * 31 + chance.below(3) as u64 * 100 + n))
                    .collect();
                let request = Request { text: Text::Known(&text), ..Request::new(BlockHash(0), &blocks) };
                let worker = WorkerId(chance.below(4) as u32);
                let held = blocks[..chance.below(9)].to_vec();
                let stored = KvEvent::Stored { parent: BlockHash(0), blocks: held };
                router.observe(Event::Kv { worker, event: stored }, now);
                let another = Distant { gateway: 1, booking: BookingId(step % 9) };
                let (worker, prompt) = (WorkerId((step % 4) as u32), Prompt::of(&request));
                router.observe(Event::Sent { request: another, worker, prompt }, now);
                if let Ok(decision) = router.route(&request, now) {
                    open.push(decision.booking);
                    decided.push(decision);
                }
            }
            6 => router.observe(Event::Left { worker: WorkerId(chance.below(4) as u32) }, now),
            7 => {
                let id = chance.below(4) as u32;
                router.observe(Event::Joined { worker: WorkerId(id), spec: spec(id) }, now);
            }
            8 => router.observe(Event::Drained { worker: WorkerId(chance.below(4) as u32) }, now),
            9 if chance.below(2) == 0 => {
                let worker = WorkerId(chance.below(4) as u32);
                let seats = [None, Some(2)][chance.below(2)];
                let events =
                    [Event::Suspected { worker }, Event::Trusted { worker }, Event::Seated { worker, seats }];
                router.observe(events[chance.below(3)].clone(), now);
            }
            _ if open.is_empty() => {}
            kind => {
                let place = chance.below(open.len());
                let booking = open[place];
                let to = WorkerId(chance.below(4) as u32);
                let events = [
                    Event::FirstToken { booking },
                    Event::Moved { booking, to },
                    Event::Aborted { booking },
                    Event::Finished { booking, usage: None },
                ];
                let event = events[chance.below(4)].clone();
                if matches!(event, Event::Aborted { .. } | Event::Finished { .. }) && kind > 9 {
                    open.swap_remove(place);
                    router.observe(event.clone(), now);
                }
                // A second end of the same request must find nothing; a first one above stays open here and is told again.
                router.observe(event.clone(), now);
                open.retain(|one| {
                    *one != booking || matches!(event, Event::FirstToken { .. } | Event::Moved { .. })
                });
            }
        }
    }
    for booking in open {
        router.observe(Event::Aborted { booking }, now);
    }
    decided
}

#[test]
fn every_booking_is_released_exactly_once() {
    for policy in every_policy() {
        for seed in 0..5 {
            let mut router = router(policy.clone(), 4);
            live(&mut router, seed);
            assert_eq!(router.in_flight(), 0, "{policy} with seed {seed}");
            for worker in router.workers() {
                let left = [worker.queued, worker.active, worker.context];
                assert_eq!(
                    (worker.in_flight, worker.unread, left),
                    (0, 0, [Tokens(0); 3]),
                    "{policy} with seed {seed}: {:?} still counts work",
                    worker.id
                );
            }
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_decisions() {
    for policy in every_policy() {
        let [one, other] = [(); 2].map(|()| live(&mut router(policy.clone(), 4), 3));
        assert_eq!(one, other, "{policy}");
        assert!(one.len() > 500, "{policy}: the life was too quiet to show anything");
    }
}

#[test]
fn the_choice_and_its_fallbacks_are_the_workers_that_are_up_each_once() {
    for policy in every_policy() {
        let mut router = router(policy.clone(), 5);
        router.observe(Event::Left { worker: WorkerId(1) }, Time::ZERO);
        router.observe(Event::Drained { worker: WorkerId(3) }, Time::ZERO);
        for _ in 0..20 {
            let decision = router.route(&Request::new(BlockHash(0), &[]), Time::ZERO).unwrap();
            let mut all = decision.fallbacks.clone();
            all.push(decision.worker);
            all.sort_unstable();
            assert_eq!(all, [WorkerId(0), WorkerId(2), WorkerId(4)], "{policy}");
        }
    }
}

#[test]
fn nobody_up_is_an_error_that_says_why() {
    for policy in every_policy() {
        let mut router = router(policy, 1);
        let request = Request::new(BlockHash(0), &[]);
        assert!(router.route(&request, Time::ZERO).is_ok());
        router.observe(Event::Drained { worker: WorkerId(0) }, Time::ZERO);
        assert_eq!(router.route(&request, Time::ZERO), Err(NoWorker::Draining));
        router.observe(Event::Left { worker: WorkerId(0) }, Time::ZERO);
        assert_eq!(router.route(&request, Time::ZERO), Err(NoWorker::Unreachable));
    }
}

#[test]
fn different_prompts_reach_every_worker() {
    for policy in every_policy() {
        let mut router = router(policy.clone(), 3);
        let mut served = [0; 3];
        for number in 0..300_u64 {
            let text = format!("{number} is the number of this prompt");
            let blocks: Vec<_> = (0..8).map(|block| BlockHash((number << 8) + block)).collect();
            let request = Request { text: Text::Known(&text), ..Request::new(BlockHash(0), &blocks) };
            let decision = router.route(&request, Time::from_millis(number)).unwrap();
            served[decision.worker.0 as usize] += 1;
            router.observe(
                Event::Finished { booking: decision.booking, usage: None },
                Time::from_millis(number),
            );
        }
        assert!(served.iter().all(|count| *count > 60), "{policy} served {served:?}");
    }
}

#[test]
fn names_are_unique_and_options_have_defaults_in_range() {
    for (place, info) in POLICIES.iter().enumerate() {
        assert!(POLICIES[..place].iter().all(|other| other.name != info.name), "{} stands twice", info.name);
        assert!(
            !info.about.is_empty() && !info.about.ends_with('.'),
            "{}: one line of help, no full stop",
            info.name
        );
        for option in info.options {
            assert!(
                (option.range.0..=option.range.1).contains(&option.default),
                "{}:{}",
                info.name,
                option.name
            );
        }
    }
}

#[test]
fn an_explanation_says_what_is_decided_next_and_changes_no_decision() {
    for policy in every_policy() {
        let name = policy.name();
        let [mut asked, mut left_alone] = [(); 2].map(|()| router(policy.clone(), 4));
        let mut chance = Chance::new(5);
        for step in 0..300_u64 {
            let now = Time::from_millis(step * 7);
            let desk = chance.below(9) as u64;
            let text = format!("desk {desk}: a question");
            let blocks: Vec<_> = (0..8).map(|n| BlockHash(desk * 100 + n)).collect();
            let request = Request { text: Text::Known(&text), ..Request::new(BlockHash(0), &blocks) };
            let told = asked.explain(&request, now).unwrap();
            let decided = asked.route(&request, now).unwrap();
            assert_eq!(
                (told.worker, told.reason, told.policy, told.fate, &told.fallbacks),
                (decided.worker, decided.reason, decided.policy, decided.fate, &decided.fallbacks),
                "{name}, step {step}"
            );
            assert_eq!(decided, left_alone.route(&request, now).unwrap(), "{name}, step {step}");
            if chance.below(3) > 0 {
                for router in [&mut asked, &mut left_alone] {
                    router.observe(Event::Finished { booking: decided.booking, usage: None }, now);
                }
            }
        }
    }
}

#[test]
fn a_change_of_policy_keeps_what_is_known_of_caches() {
    let mut router = router(PolicyConfig::of(&POLICIES[0]), 4);
    let blocks: Vec<_> = (0..40).map(BlockHash).collect();
    let request = Request::new(BlockHash(0), &blocks);
    let first = router.route(&request, Time::ZERO).unwrap();
    router.observe(Event::Finished { booking: first.booking, usage: None }, Time::ZERO);
    router.set_policy(&PolicyConfig::default());
    let second = router.route(&request, Time::ZERO).unwrap();
    assert_eq!(second.policy, "cache_aware");
    assert_eq!(second.fate.unseen, Tokens::ZERO);
}
