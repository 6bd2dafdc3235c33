//! The line against a naive model of it, and the queue against requests that come, wait, leave and find no room.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::yield_now;
use tokio::time::{Instant, advance};
use warmroute_kv::Tokens;
use warmroute_routing::NoWorker;

use super::line::{AGING, Line, Ticket};
use super::{Asker, Bounds, Priority, Queue, Turned};

fn asker(key: &str, level: i64) -> Asker {
    Asker { priority: Priority::new(level), key: key.into() }
}

/// All who wait, in a plain list; who is next is found by looking at everybody.
#[derive(Default)]
struct Naive {
    all: Vec<(Ticket, &'static str, i64, Instant, bool)>,
    had: HashMap<&'static str, f64>,
    present: f64,
}

impl Naive {
    fn start(&self, key: &str) -> f64 {
        self.had.get(key).copied().unwrap_or(0.0).max(self.present)
    }

    fn call(&mut self, now: Instant) -> Option<Ticket> {
        let level = |(_, _, level, since, _): &(Ticket, &str, i64, Instant, bool)| {
            level + i64::try_from((now - *since).as_millis() / AGING.as_millis()).unwrap()
        };
        let mut next: Option<usize> = None;
        for (place, one) in self.all.iter().enumerate().filter(|(_, one)| !one.4) {
            let better = next.is_none_or(|other| {
                let other = &self.all[other];
                (level(one), -self.start(one.1)) > (level(other), -self.start(other.1))
            });
            next = if better { Some(place) } else { next };
        }
        self.all[next?].4 = true;
        Some(self.all[next?].0)
    }

    fn leave(&mut self, place: usize) {
        self.all.remove(place);
        if self.all.is_empty() {
            self.had.clear();
            self.present = 0.0;
        }
    }

    fn serve(&mut self, place: usize, tokens: u32) {
        let key = self.all[place].1;
        let start = self.start(key);
        self.had.insert(key, start + f64::from(tokens.max(1)));
        self.present = self.present.max(start);
        self.leave(place);
    }
}

const KEYS: [&str; 4] = ["", "a", "b", "c"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_line_agrees_with_a_plain_list(acts in prop::collection::vec((0..9_u8, 0..64_usize, 0..400_u32), 1..300)) {
        let (mut line, mut naive, mut now) = (Line::default(), Naive::default(), Instant::now());
        for (act, which, amount) in acts {
            let called: Vec<usize> = (0..naive.all.len()).filter(|place| naive.all[*place].4).collect();
            let one_called = (!called.is_empty()).then(|| called[which % called.len().max(1)]);
            match (act, one_called) {
                (0..3, _) => {
                    let (key, level) = (KEYS[which % 4], i64::from(amount % 9) - 4);
                    let ticket = line.enter(asker(key, level), now);
                    naive.all.push((ticket, key, level, now, false));
                }
                (3..5, _) => prop_assert_eq!(line.call(now), naive.call(now)),
                (5, Some(place)) => {
                    line.wait_on(naive.all[place].0);
                    naive.all[place].4 = false;
                }
                (6, Some(place)) => {
                    line.serve(naive.all[place].0, amount);
                    naive.serve(place, amount);
                }
                (7, _) if !naive.all.is_empty() => {
                    let place = which % naive.all.len();
                    prop_assert_eq!(line.leave(naive.all[place].0), Some(naive.all[place].4));
                    naive.leave(place);
                }
                _ => now += Duration::from_millis(u64::from(amount) * 10),
            }
            prop_assert_eq!(line.len(), naive.all.len());
        }
    }
}

/// The keys in the order in which they are served, `tokens` for each request of a key.
fn order(
    line: &mut Line,
    now: Instant,
    whose: &HashMap<Ticket, &'static str>,
    tokens: impl Fn(&str) -> u32,
) -> String {
    let next = || {
        let ticket = line.call(now)?;
        line.serve(ticket, tokens(whose[&ticket]));
        Some(whose[&ticket])
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn keys_share_tokens_and_not_requests_and_a_long_line_of_one_does_not_hold_up_another() {
    let (mut line, now) = (Line::default(), Instant::now());
    let mut whose = HashMap::new();
    for _ in 0..8 {
        whose.insert(line.enter(asker("a", 0), now), "a");
    }
    for _ in 0..4 {
        whose.insert(line.enter(asker("b", 0), now), "b");
    }
    let served = order(&mut line, now, &whose, |key| if key == "b" { 200 } else { 100 });
    assert_eq!(
        served,
        "abaabaabaaba".chars().take(12).collect::<String>(),
        "b asks for twice as much each time"
    );
}

#[test]
fn priority_goes_first_until_others_have_waited_long_enough() {
    let (mut line, now) = (Line::default(), Instant::now());
    let low = line.enter(asker("", -4), now);
    let later = now + 8 * AGING;
    let high = line.enter(asker("", 4), later);
    assert_eq!(line.call(later), Some(low), "a wait of eight levels makes up for eight levels");
    assert_eq!(line.call(later), Some(high));
    let (mut line, now) = (Line::default(), Instant::now());
    let [_, high] = [-1, 1].map(|level| line.enter(asker("", level), now));
    assert_eq!(line.call(now), Some(high));
}

/// A queue before workers with so many seats that are free.
struct World {
    queue: Queue,
    free: Cell<usize>,
}

const BOUNDS: Bounds = Bounds { requests: 3, time: Duration::from_secs(10) };

impl World {
    fn new(free: usize) -> Rc<Self> {
        Rc::new(Self { queue: Queue::new(), free: Cell::new(free) })
    }

    fn seek(&self) -> Result<((), Tokens), NoWorker> {
        let free = self.free.get().checked_sub(1).ok_or(NoWorker::Full)?;
        self.free.set(free);
        Ok(((), Tokens(10)))
    }

    fn free_one(&self) {
        self.free.set(self.free.get() + 1);
        self.queue.call();
    }

    async fn served(self: Rc<Self>) -> Result<(), Turned> {
        self.queue.in_turn(asker("", 0), BOUNDS, || self.seek()).await
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn spawn(world: &Rc<World>) -> tokio::task::JoinHandle<Result<(), Turned>> {
    tokio::task::spawn_local(Rc::clone(world).served())
}

#[test]
fn whoever_finds_room_at_once_does_not_wait() {
    run(async {
        let world = World::new(1);
        assert_eq!(world.clone().served().await, Ok(()));
        assert_eq!(world.queue.waiting(), 0);
    });
}

#[test]
fn each_end_of_a_request_serves_one_in_order_of_arrival() {
    run(async {
        let world = World::new(0);
        let waiters = [spawn(&world), spawn(&world)];
        yield_now().await;
        assert_eq!(world.queue.waiting(), 2);
        world.free_one();
        yield_now().await;
        yield_now().await;
        assert_eq!((waiters[0].is_finished(), waiters[1].is_finished()), (true, false));
        world.free_one();
        let [_, second] = waiters;
        assert_eq!(second.await.unwrap(), Ok(()));
    });
}

#[test]
fn room_for_many_that_one_call_tells_of_is_used_by_many() {
    run(async {
        let world = World::new(0);
        let waiters = [spawn(&world), spawn(&world), spawn(&world)];
        yield_now().await;
        world.free.set(3);
        world.queue.call();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), Ok(()));
        }
    });
}

#[test]
fn beyond_the_bound_and_beyond_the_deadline_a_request_is_turned_away() {
    run(async {
        let world = World::new(0);
        let waiters = [spawn(&world), spawn(&world), spawn(&world)];
        yield_now().await;
        let crowded = world.clone().served().await.unwrap_err();
        assert!(matches!(crowded, Turned::Crowded { waiting: 3, .. }), "{crowded:?}");
        advance(BOUNDS.time).await;
        for waiter in waiters {
            assert!(matches!(waiter.await.unwrap(), Err(Turned::Late { .. })));
        }
        assert_eq!(world.queue.waiting(), 0);
    });
}

#[test]
fn a_client_that_leaves_gives_its_call_to_the_next() {
    run(async {
        let world = World::new(0);
        let (first, second) = (spawn(&world), spawn(&world));
        yield_now().await;
        world.free_one();
        first.abort();
        assert_eq!(second.await.unwrap(), Ok(()));
        assert_eq!(world.queue.waiting(), 0);
    });
}

#[test]
fn room_that_comes_between_the_look_and_the_wait_is_not_missed() {
    run(async {
        let world = World::new(0);
        let looked = Cell::new(false);
        let seek = || {
            let found = world.seek();
            if !looked.replace(true) {
                // As if another thread ended a request just now.
                world.free_one();
            }
            found
        };
        assert_eq!(world.queue.in_turn(asker("", 0), BOUNDS, seek).await, Ok(()));
    });
}

#[test]
fn nobody_to_wait_for_ends_every_wait() {
    run(async {
        let queue = Arc::new(Queue::new());
        let gone = || Err::<((), Tokens), _>(NoWorker::Unreachable);
        let turned = queue.in_turn(asker("", 0), BOUNDS, gone).await;
        assert_eq!(turned, Err(Turned::Nobody(NoWorker::Unreachable)));
    });
}
