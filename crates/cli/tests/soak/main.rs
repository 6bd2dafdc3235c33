//! A long run in which nothing grows: memory, descriptors, threads, series of metrics, what is believed of caches, requests under way.
//!
//! Meanwhile prompts come that never came before, streams are read and left, heads break off, models and paths are asked for that there are
//! not, workers come at new addresses and go, fail, start anew and publish their caches, and settings are read again.
//!
//! ```sh
//! cargo test -p warmroute-cli --test soak -- --ignored --nocapture                               # 100 s
//! WARMROUTE_SOAK_S=1200 cargo test -p warmroute-cli --test soak -- --ignored --nocapture
//! ```
//!
//! The gateway has the environment of the test: with `MIMALLOC_ALLOW_THP=0`, resident memory has no huge pages in it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod fleet;
mod load;
mod samples;

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use self::fleet::Fleet;
use self::load::Load;
use self::samples::{Samples, sum};

/// Between two changes of the fleet, and between two looks at it.
const STEP: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(500);
/// Before the first look: what has a bound is filled.
const FILLING: Duration = Duration::from_secs(40);
/// Only a hang takes so long.
const LIMIT: Duration = Duration::from_secs(60);

fn setting(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 100 s, or 40 s longer than WARMROUTE_SOAK_S says"]
async fn nothing_grows_however_long_it_runs() {
    let run = Duration::from_secs_f64(setting("WARMROUTE_SOAK_S", 60.0));
    let mut fleet = Fleet::start().await;
    let (began, mut samples) = (Instant::now(), Samples::default());
    let rate = setting("WARMROUTE_SOAK_RPS", 100.0);
    let load = Load::start(&fleet.gateway().clients, rate);
    while began.elapsed() < FILLING + run {
        fleet.change().await;
        let next = Instant::now() + STEP;
        while Instant::now() < next {
            sleep(LOOK).await;
            if began.elapsed() > FILLING {
                samples.take(&fleet).await;
            }
        }
    }
    let counts = timeout(LIMIT, load.end()).await.expect("no request hangs");
    let wanted = rate * began.elapsed().as_secs_f64();
    assert!(
        counts.answered.load(Ordering::Relaxed) as f64 > 0.3 * wanted,
        "of {wanted} requests: {counts:?}"
    );
    println!("{run:?}: {counts:?}");
    let grown = samples.report();
    let idle = async {
        while sum(&fleet.metrics().await, "warmroute_worker_in_flight") > 0.0 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, idle).await.expect("every request gives back its place");
    assert!(grown.is_empty(), "{grown:?} have grown by more than a twentieth");
}
