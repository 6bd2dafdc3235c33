//! What every rival owes the router it is driven by, checked for each one in the list through the real [`Router`].

use warmroute_kv::{BlockHash, Tokens};
use warmroute_routing::policy::PolicyConfig;
use warmroute_routing::{
    Chance, Decision, Event, Publishes, Request, Router, Settings, Time, WorkerId, WorkerSpec,
};

use super::RIVALS;
use super::scene::prompt;

const SPEC: WorkerSpec = WorkerSpec { capacity: Some(Tokens(1_000)), publishes: Publishes::Nothing };

fn router(policy: PolicyConfig, workers: u32) -> Router {
    let mut router = Router::new(Settings { policy, seed: 11, ..Settings::default() });
    for id in 0..workers {
        router.observe(Event::Joined { worker: WorkerId(id), spec: SPEC }, Time::ZERO);
    }
    router
}

/// One random life of a fleet in which workers come, go, drain and restart and requests end in every way. Returns what
/// was decided; at the end nothing is under way.
fn live(router: &mut Router, seed: u64) -> Vec<Decision> {
    let mut chance = Chance::new(seed);
    let (mut open, mut decided) = (Vec::new(), Vec::new());
    for step in 0..2_000_u64 {
        let now = Time::from_millis(step * 700);
        let worker = WorkerId(chance.below(5) as u32);
        match chance.below(14) {
            0..7 => {
                let blocks = prompt(chance.below(20) as u64, 1 + chance.below(40));
                let block = [16, 512][chance.below(2)];
                let request = Request {
                    block: block.into(),
                    prompt: blocks.len() * block + 3,
                    ..Request::new(BlockHash(0), &blocks)
                };
                if let Ok(decision) = router.route(&request, now) {
                    open.push(decision.booking);
                    decided.push(decision);
                }
            }
            7 => router.observe(Event::Left { worker }, now),
            8 | 9 => router.observe(Event::Joined { worker, spec: SPEC }, now),
            10 => router.observe(Event::Drained { worker }, now),
            _ if open.is_empty() => {}
            11 => {
                let booking = open[chance.below(open.len())];
                router.observe(Event::FirstToken { booking }, now);
                router.observe(Event::Moved { booking, to: worker }, now);
            }
            kind => {
                let booking = open.swap_remove(chance.below(open.len()));
                let end = Event::Finished { booking, usage: None };
                router.observe(if kind == 12 { end } else { Event::Aborted { booking } }, now);
            }
        }
    }
    for booking in open {
        router.observe(Event::Aborted { booking }, Time::from_millis(2_000_000));
    }
    decided
}

#[test]
fn every_booking_is_released_whatever_happens_to_the_fleet() {
    for info in RIVALS {
        for seed in 0..5 {
            let mut router = router(PolicyConfig::of(info), 4);
            live(&mut router, seed);
            assert_eq!(router.in_flight(), 0, "{} with seed {seed}", info.name);
            for worker in router.workers() {
                let left = (worker.in_flight, worker.queued);
                assert_eq!(left, (0, Tokens(0)), "{} with seed {seed}: {:?}", info.name, worker.id);
            }
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_decisions() {
    for info in RIVALS {
        let [one, other] = [(); 2].map(|()| live(&mut router(PolicyConfig::of(info), 4), 3));
        assert_eq!(one, other, "{}", info.name);
        assert!(one.len() > 500, "{}: the life was too quiet to show anything", info.name);
    }
}

#[test]
fn different_prompts_reach_every_worker() {
    for info in RIVALS {
        let mut router = router(PolicyConfig::of(info), 3);
        let mut served = [0; 3];
        for number in 0..300 {
            let blocks = prompt(number, 8);
            let now = Time::from_millis(number);
            let decision = router.route(&Request::new(BlockHash(0), &blocks), now).unwrap();
            served[decision.worker.0 as usize] += 1;
            router.observe(Event::Finished { booking: decision.booking, usage: None }, now);
        }
        assert!(served.iter().all(|count| *count > 60), "{} served {served:?}", info.name);
    }
}

#[test]
fn prompts_without_one_whole_block_are_routed_too() {
    for info in RIVALS {
        let mut router = router(PolicyConfig::of(info), 3);
        for _ in 0..10 {
            assert!(router.route(&Request::new(BlockHash(0), &[]), Time::ZERO).is_ok(), "{}", info.name);
        }
    }
}

#[test]
fn names_are_unique_and_options_have_defaults_in_range() {
    for (place, info) in RIVALS.iter().enumerate() {
        assert!(RIVALS[..place].iter().all(|other| other.name != info.name), "{} stands twice", info.name);
        assert!(!info.about.is_empty() && !info.about.ends_with('.'), "{}: one line of help", info.name);
        for option in info.options {
            let (least, most) = option.range;
            assert!((least..=most).contains(&option.default), "{}:{}", info.name, option.name);
        }
    }
}
