//! Chaos: a gateway before eight workers that are killed, stalled, reset, restarted, added and drained at random, under open-loop load.
//!
//! Rounds of harm and calm follow each other: at the beginning of a round some workers are harmed, four seconds later they are mended. What
//! must hold is that no request without a first byte fails, that two seconds after any harm has begun or ended one request in a hundred
//! takes as long as in calm, by a small factor, though the harm lasts, that nothing is left over, and that memory does not grow.
//!
//! ```sh
//! cargo test -p warmroute-cli --test chaos -- --ignored --nocapture                                    # half a minute
//! WARMROUTE_CHAOS_S=600 WARMROUTE_CHAOS_SEED=7 cargo test -p warmroute-cli --test chaos -- --ignored --nocapture
//! WARMROUTE_CHAOS_ONLY=stall WARMROUTE_CHAOS_S=100 cargo test -p warmroute-cli --test chaos -- --ignored --nocapture  # stall and stall_midway
//! ```
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod harm;
mod hitch;
mod load;
mod report;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use warmroute_gateway::{GatewayConfig, Millis, RunningGateway};
use warmroute_routing::Chance;

use self::harm::Workers;
use self::hitch::Watch;
use self::load::Load;
use self::report::{RECOVERED_AFTER, Run};

const WORKERS: usize = 8;
/// How long workers stay harmed, and how long they are well again.
const HARMED: Duration = Duration::from_secs(4);
const MENDED: Duration = Duration::from_secs(3);
/// Before the first harm: what is normal here.
const CALM: Duration = Duration::from_secs(10);
/// What a request may take once all has settled, in what it takes in calm.
const FACTOR: u32 = 3;
/// The gateway waits so long for a first byte: what a request loses that meets a stalled worker.
const FIRST_BYTE: Duration = Duration::from_millis(500);
/// Only a hang takes so long.
const LIMIT: Duration = Duration::from_secs(60);

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn gateway(workers: &Workers) -> RunningGateway {
    let config = GatewayConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        workers: workers.urls(),
        probe_interval_ms: Millis(200),
        probe_timeout_ms: Millis(1_000),
        first_byte_timeout_ms: Millis(FIRST_BYTE.as_millis() as u64),
        idle_timeout_ms: Millis(1_000),
        max_attempts: WORKERS,
        ..GatewayConfig::default()
    };
    let gateway = warmroute_gateway::start(config).await.unwrap();
    gateway.workers_up(WORKERS).await;
    gateway
}

/// Bytes of memory that this process has: gateway, workers and clients together.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute, and as long as WARMROUTE_CHAOS_S says"]
async fn no_request_without_a_first_byte_fails_whatever_happens_to_workers() {
    let (seconds, seed) = (setting("WARMROUTE_CHAOS_S", 20), setting("WARMROUTE_CHAOS_SEED", 1));
    println!("chaos of {seconds} s with seed {seed}");
    let mut chance = Chance::new(seed);
    let mut workers = Workers::start(WORKERS).await;
    let gateway = gateway(&workers).await;
    let load = Load::start(gateway.address(), setting("WARMROUTE_CHAOS_RPS", 100.0));
    let watch = Watch::start();
    sleep(CALM).await;
    let calm_until = Instant::now();
    let mut memory = Vec::new();
    while calm_until.elapsed() < Duration::from_secs(seconds) {
        let what = workers.harm(&mut chance, &gateway).await;
        println!("{:6.1} s  {what}", calm_until.elapsed().as_secs_f64());
        sleep(HARMED).await;
        workers.mend(&gateway).await;
        sleep(MENDED).await;
        memory.push(resident_bytes());
    }
    let over = Instant::now();
    let endings = timeout(LIMIT, load.end()).await.expect("no request hangs");
    let harms = std::mem::take(&mut workers.harms);
    judge(&Run { endings, harms, hitches: watch.end(), calm_until, over }, &memory);
    timeout(LIMIT, async {
        while gateway.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("every request gives back its place");
    assert_eq!(timeout(LIMIT, workers.left_over()).await.expect("workers are idle"), 0);
    gateway.shutdown().await;
}

fn judge(run: &Run, memory: &[usize]) {
    let count = |what: fn(&&load::Ending) -> bool| run.endings.iter().filter(what).count();
    let (lost, retried) = (run.lost(), count(|ending| ending.attempts > 1));
    let cut = count(|ending| ending.status == 200 && !ending.whole);
    let all = run.endings.len();
    println!("{all} requests: {retried} retried, {cut} cut after their first byte, {} lost", lost.len());
    let mut phases = run.phases();
    let (calm, changing, settled) = (phases.calm.p99(), phases.changing.p99(), phases.settled.p99());
    println!(
        "p99 to the first byte: {calm:?} in calm ({}), {changing:?} within {RECOVERED_AFTER:?} of a change ({}), {settled:?} from then on ({})",
        phases.calm.count(),
        phases.changing.count(),
        phases.settled.count(),
    );
    for (what, times) in &mut phases.during {
        println!("  of these during {what}: {:?} ({})", times.p99(), times.count());
    }
    println!("the machine did not run us for {:?} of {:?}", run.hitches.all(), run.over - run.calm_until);
    println!("slow then, by what their worker suffered and attempts: {:?}", run.slow(FACTOR * calm));
    let (early, last) = (memory[memory.len() / 4], memory[memory.len() - 1]);
    println!("memory: {} MB after a quarter, {} MB at the end", early >> 20, last >> 20);
    for ending in lost.iter().take(10) {
        println!("lost: {ending:?}");
    }
    assert!(lost.is_empty(), "{} requests without a first byte failed", lost.len());
    assert!(
        settled < FACTOR * calm,
        "{RECOVERED_AFTER:?} after a change p99 is {settled:?}, in calm {calm:?}"
    );
    assert!(last < early + (32 << 20), "memory grew from {early} to {last} bytes");
}
