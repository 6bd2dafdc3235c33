//! Chaos: a gateway before eight workers that are killed, stalled, reset, restarted, added and drained at random, under open-loop load.
//!
//! Rounds of calm and harm follow each other: at the beginning of a round some workers are harmed, at its end they are mended. What must hold
//! is that no request without a first byte fails, that latencies are back within two seconds of the harm though it lasts, that nothing
//! is left over, and that memory does not grow.
//!
//! ```sh
//! cargo test -p warmroute-cli --test chaos -- --ignored --nocapture                                    # 20 s
//! WARMROUTE_CHAOS_S=600 WARMROUTE_CHAOS_SEED=7 cargo test -p warmroute-cli --test chaos -- --ignored --nocapture
//! ```
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod harm;
mod load;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use warmroute_gateway::{GatewayConfig, Millis, RunningGateway};
use warmroute_routing::Chance;

use self::harm::Workers;
use self::load::{Ending, Load};

const WORKERS: usize = 8;
/// How long a round is. Its workers stay harmed for all of it.
const ROUND: Duration = Duration::from_secs(4);
/// After so long latencies are to be what they were.
const RECOVERED_AFTER: Duration = Duration::from_secs(2);
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

/// The latency that one in a hundred exceeds.
fn p99(endings: &[&Ending]) -> Duration {
    let mut all: Vec<Duration> = endings.iter().filter_map(|ending| ending.first_byte).collect();
    all.sort();
    all.get((all.len() * 99 / 100).min(all.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 20 s, and as long as WARMROUTE_CHAOS_S says"]
async fn no_request_without_a_first_byte_fails_whatever_happens_to_workers() {
    let (seconds, seed) = (setting("WARMROUTE_CHAOS_S", 20), setting("WARMROUTE_CHAOS_SEED", 1));
    println!("chaos of {seconds} s with seed {seed}");
    let mut chance = Chance::new(seed);
    let mut workers = Workers::start(WORKERS).await;
    let gateway = gateway(&workers).await;
    let load = Load::start(gateway.address(), setting("WARMROUTE_CHAOS_RPS", 60.0));
    // Calm to begin with: what is normal here.
    sleep(ROUND).await;
    let began = Instant::now();
    let (mut harms, mut memory) = (vec![began], Vec::new());
    while began.elapsed() < Duration::from_secs(seconds) {
        harms.push(Instant::now());
        let what = workers.harm(&mut chance, &gateway).await;
        println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
        sleep(ROUND).await;
        workers.mend(&gateway).await;
        memory.push(resident_bytes());
    }
    let endings = timeout(LIMIT, load.end()).await.expect("no request hangs");
    report(&endings, &harms, &memory);
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

fn report(endings: &[Ending], harms: &[Instant], memory: &[usize]) {
    let count = |what: fn(&&Ending) -> bool| endings.iter().filter(what).count();
    let lost: Vec<&Ending> = endings.iter().filter(|ending| ending.failed_before_first_byte()).collect();
    let retried = count(|ending| ending.attempts > 1);
    let cut = count(|ending| ending.status == 200 && !ending.whole);
    println!(
        "{} requests: {} retried, {cut} cut after their first byte, {} lost",
        endings.len(),
        retried,
        lost.len()
    );
    let calm: Vec<&Ending> = endings.iter().filter(|ending| ending.began < harms[0]).collect();
    let mut late = Vec::new();
    for harm in &harms[1..] {
        let (from, to) = (*harm + RECOVERED_AFTER, *harm + ROUND);
        late.extend(endings.iter().filter(|ending| (from..to).contains(&ending.began)));
    }
    let first = endings.iter().filter(|ending| {
        harms[1..].iter().any(|harm| (*harm..*harm + RECOVERED_AFTER).contains(&ending.began))
    });
    let (calm, first, late) = (p99(&calm), p99(&first.collect::<Vec<_>>()), p99(&late));
    println!(
        "p99 to the first byte: {calm:?} in calm, {first:?} in the 2 s after a harm, {late:?} from then on"
    );
    let (early, last) = (memory[memory.len() / 4], memory[memory.len() - 1]);
    println!("memory: {} MB after a quarter, {} MB at the end", early >> 20, last >> 20);
    for ending in lost.iter().take(10) {
        println!("lost: {ending:?}");
    }
    assert!(lost.is_empty(), "{} requests without a first byte failed", lost.len());
    // A breaker's trial of a stalled worker costs one request its first-byte timeout, and a worker that stalls on every third is not bad
    // enough for its breaker: one request in a hundred may still wait in vain, but not for one worker after the other.
    assert!(late < 2 * FIRST_BYTE + calm, "two seconds after a harm p99 is {late:?}, in calm {calm:?}");
    assert!(last < early + (32 << 20), "memory grew from {early} to {last} bytes");
}
