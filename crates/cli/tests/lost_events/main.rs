//! KV events that are lost, garbled, late or of another process, under load: no request fails, states and metrics tell it, and afterwards
//! the index is what a fresh replay makes of the engines. And events that are of another engine: they are found out by what the workers
//! report.
//!
//! ```sh
//! cargo test -p warmroute-cli --test lost_events
//! WARMROUTE_SILENCE_S=60 cargo test -p warmroute-cli --test lost_events -- --nocapture   # the wire is cut for a minute
//! ```
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod fleet;
mod load;
mod relay;

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::fleet::{Hearing, Member, Watcher};
use self::load::{Load, different};
use self::relay::Harm;

const WORKERS: usize = 2;

/// The workers, the gateway that listens to them over their wires, and load, once both have been heard and used.
async fn world(hearing: Hearing) -> (Vec<Member>, Watcher, Load) {
    let mut fleet = Vec::new();
    for seed in 0..WORKERS {
        fleet.push(Member::start(seed as u64).await);
    }
    let watcher = Watcher::start(&fleet, hearing).await;
    let load = Load::start(&watcher.url);
    load.go_on_for(different()).await;
    for member in &fleet {
        watcher.shows(member, ("cache_exact", ""), |exact| exact == 1.0).await;
        watcher.shows(member, ("kv_state", "\"live\""), |live| live == 1.0).await;
    }
    (fleet, watcher, load)
}

/// Waits, while the load goes on, until the workers' own words are believed. What was predicted while they were not heard may have been so
/// wrong that they are not, until they would have been right.
async fn believed(watcher: &Watcher, fleet: &[Member]) {
    for member in fleet {
        watcher.shows(member, ("cache_exact", ""), |exact| exact == 1.0).await;
    }
}

/// The load has ended without a failure.
async fn nothing_failed(load: Load, what: &str) {
    let (asked, failures) = load.end().await;
    eprintln!("{what}: {asked} requests, {} failed", failures.len());
    assert!(failures.is_empty(), "{}: {:?}", failures.len(), failures.first());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenth_of_the_messages_lost_and_garbage_between_them_leave_the_index_right() {
    let (fleet, watcher, load) = world(Hearing::Wires).await;
    fleet.iter().for_each(|member| member.relay.as_ref().unwrap().harm(Harm { loss: 0.1, garbage: 0.1 }));
    load.go_on_for(4 * different()).await;
    for member in &fleet {
        watcher.shows(member, ("kv_events", "\"gaps\""), |gaps| gaps > 0.0).await;
        watcher.shows(member, ("kv_events", "\"unreadable\""), |unreadable| unreadable > 0.0).await;
        watcher.shows(member, ("kv_events", "\"replays\""), |replays| replays > 1.0).await;
    }
    fleet.iter().for_each(|member| member.relay.as_ref().unwrap().harm(Harm::default()));
    believed(&watcher, &fleet).await;
    nothing_failed(load, "10 % lost, with garbage").await;
    watcher.equals_a_fresh_replay(&fleet).await;
    watcher.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_killed_and_comes_back_is_indexed_anew() {
    let (mut fleet, watcher, load) = world(Hearing::Wires).await;
    fleet[0].kill();
    watcher.workers_down_to(WORKERS - 1).await;
    load.go_on_for(different()).await;
    watcher.shows(&fleet[1], ("kv_state", "\"live\""), |live| live == 1.0).await;
    fleet[0].restart().await;
    watcher.workers_up(WORKERS).await;
    load.go_on_for(2 * different()).await;
    watcher.shows(&fleet[0], ("kv_state", "\"live\""), |live| live == 1.0).await;
    believed(&watcher, &fleet).await;
    nothing_failed(load, "an engine killed and restarted").await;
    watcher.equals_a_fresh_replay(&fleet).await;
    watcher.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_hears_nothing_for_long_catches_up() {
    let (mut fleet, watcher, load) = world(Hearing::Wires).await;
    let seconds = std::env::var("WARMROUTE_SILENCE_S").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let begun = Instant::now();
    fleet.iter_mut().for_each(Member::disconnect);
    for member in &fleet {
        watcher.shows(member, ("kv_state", "\"stale\""), |stale| stale == 1.0).await;
    }
    sleep_until(begun + Duration::from_secs(seconds)).await;
    for member in &mut fleet {
        member.connect().await;
    }
    for member in &fleet {
        watcher.shows(member, ("kv_state", "\"live\""), |live| live == 1.0).await;
    }
    load.go_on_for(different()).await;
    believed(&watcher, &fleet).await;
    nothing_failed(load, "nothing heard for a while").await;
    watcher.equals_a_fresh_replay(&fleet).await;
    watcher.end().await;
}

/// As after a mistake in the settings: each worker's cache is told of by the other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wires_that_are_swapped_are_found_out_and_believed_again_once_they_are_right() {
    let (mut fleet, watcher, load) = world(Hearing::LiveOnly).await;
    let publishers: Vec<_> = fleet.iter().map(|member| member.publisher().to_owned()).collect();
    for (member, other) in fleet.iter_mut().zip(publishers.iter().rev()) {
        member.connect_to(other).await;
    }
    for member in &fleet {
        watcher.shows(member, ("prediction_state", "\"misleading\""), |misleading| misleading == 1.0).await;
        watcher.shows(member, ("cache_exact", ""), |exact| exact == 0.0).await;
    }
    for member in &mut fleet {
        member.connect().await;
    }
    for member in &fleet {
        watcher.shows(member, ("cache_exact", ""), |exact| exact == 1.0).await;
        watcher.shows(member, ("prediction_state", "\"calibrated\""), |calibrated| calibrated == 1.0).await;
    }
    nothing_failed(load, "events of another engine").await;
    watcher.end().await;
}
