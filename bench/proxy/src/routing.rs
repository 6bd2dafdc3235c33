//! What each proxy makes of the workers' caches: one hot prefix, prompts that share little, and chats.
//!
//! Every run has a fleet and a proxy of its own, so that nobody inherits a cache. Hits are what workers report in `usage`.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::chats::Chats;
use crate::contender::Contender;
use crate::figure::{Figure, table, times};
use crate::load::{self, Outcome};
use crate::place::Bench;
use crate::requests::{Requests, Shape};
use crate::standins::Fleet;

const WORKERS: usize = 4;
/// Groups that share a beginning, in the check of prompts that share little.
const GROUPS: usize = 64;
/// Chats that are going on at any time, and how many are held in all. Each ends at 2,300 tokens, so an eighth of what those of one
/// time need is 9,216 tokens for each worker.
const CHATS_AT_ONCE: usize = 128;
const CHATS: usize = 512;
/// Connections: fewer than the fleet's 32 seats but for the hot prefix, where a third of the requests has to wait.
const CONNECTIONS: usize = 16;

/// One question to the routers.
struct Check {
    name: &'static str,
    /// What is compared, and whose figure the ratios are to.
    measure: &'static str,
    base: &'static str,
    flags: &'static [&'static str],
    run: Run,
}

enum Run {
    HotPrefix,
    SharedAndUnique,
    /// So many chats begin with the same system message.
    Chats(u64),
}

#[rustfmt::skip]
const CHECKS: &[Check] = &[
    Check { name: "hot prefix", measure: "requests/s", base: "warmroute round_robin", run: Run::HotPrefix,
        flags: &["--latency-ms", "50", "--max-running", "8"] },
    Check { name: "2 kB shared, 8 kB unique", measure: "hit %", base: "warmroute bounded_hash", run: Run::SharedAndUnique,
        flags: &["--latency-ms", "20", "--max-running", "8", "--kv-cache-tokens", "65536"] },
    Check { name: "chats, ample cache", measure: "hit %", base: "best other", run: Run::Chats(1),
        flags: &["--latency-ms", "10", "--max-running", "8", "--kv-cache-tokens", "1048576"] },
    Check { name: "chats, an eighth of that", measure: "hit %", base: "best other", run: Run::Chats(1),
        flags: &["--latency-ms", "10", "--max-running", "8", "--kv-cache-tokens", "9216"] },
    Check { name: "chats that share system prompts, ample cache", measure: "hit %", base: "best other", run: Run::Chats(16),
        flags: &["--latency-ms", "10", "--max-running", "8", "--kv-cache-tokens", "1048576"] },
    Check { name: "chats that share system prompts, an eighth", measure: "hit %", base: "best other", run: Run::Chats(16),
        flags: &["--latency-ms", "10", "--max-running", "8", "--kv-cache-tokens", "9216"] },
];

/// One proxy's figure in one check.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    check: &'static str,
    measure: &'static str,
    base: &'static str,
    proxy: &'static str,
    figure: Figure,
    p50_ms: Figure,
    failed: u64,
}

/// Asks all contenders all questions, or those whose name holds a word.
pub async fn measure(
    bench: &Bench,
    contenders: &[&Contender],
    rounds: usize,
    only: &str,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for check in CHECKS.iter().filter(|check| check.name.contains(only)) {
        let mut outcomes: Vec<_> = contenders.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            for (contender, outcomes) in contenders.iter().zip(&mut outcomes) {
                eprintln!("{}, round {}, {}", check.name, round + 1, contender.name);
                outcomes.push(check.run(bench, contender, round as u64 + 1).await?);
            }
        }
        rows.extend(
            contenders.iter().zip(&outcomes).map(|(contender, outcomes)| check.row(contender.name, outcomes)),
        );
    }
    Ok(rows)
}

impl Check {
    async fn run(&self, bench: &Bench, contender: &Contender, seed: u64) -> anyhow::Result<Outcome> {
        let mut fleet = Fleet::start(bench, WORKERS, self.flags).await?;
        let mut proxy = contender.start(bench, &fleet.ports).await?;
        let outcome = match self.run {
            Run::HotPrefix => hot_prefix(proxy.port, seed).await,
            Run::SharedAndUnique => shared_and_unique(proxy.port, seed).await,
            Run::Chats(of_one_system) => chats(proxy.port, of_one_system, seed).await,
        };
        fleet.must_run()?;
        proxy.process.must_run()?;
        Ok(outcome)
    }

    fn row(&self, proxy: &'static str, outcomes: &[Outcome]) -> Row {
        let value = |outcome: &Outcome| match self.run {
            Run::HotPrefix => outcome.per_second(),
            Run::SharedAndUnique | Run::Chats(_) => outcome.hit_rate() * 100.0,
        };
        Row {
            check: self.name,
            measure: self.measure,
            base: self.base,
            proxy,
            figure: Figure::of(outcomes.iter().map(value)),
            p50_ms: Figure::of(
                outcomes.iter().map(|outcome| outcome.quantile(0.5, |answer| answer.whole_us) / 1e3),
            ),
            failed: outcomes.iter().map(|outcome| outcome.failed).sum(),
        }
    }
}

/// 48 connections ask 32 seats, all with the same 4 kB at the beginning: whoever sends them to one worker has a quarter of the fleet.
async fn hot_prefix(port: u16, seed: u64) -> Outcome {
    let requests = Requests::new(Shape { shared: 4 << 10, unique: 200, groups: 1, streamed: false }, seed);
    let (mut number, until) = (0, Instant::now() + Duration::from_secs(4));
    load::run(port, 48, Duration::ZERO, |_, request| {
        number += 1;
        requests.write(0, number, request);
        Instant::now() < until
    })
    .await
}

/// A fifth of each prompt is shared by one in 64. The caches hold 25 prompts each: enough for a worker's share of the groups, not for all.
async fn shared_and_unique(port: u16, seed: u64) -> Outcome {
    let requests =
        Requests::new(Shape { shared: 2 << 10, unique: 8 << 10, groups: GROUPS, streamed: false }, seed);
    let (mut rng, mut number) = (fastrand::Rng::with_seed(seed), 0);
    load::run(port, CONNECTIONS, Duration::ZERO, |_, request| {
        number += 1;
        requests.write(rng.usize(..GROUPS), number, request);
        number <= 3_000
    })
    .await
}

async fn chats(port: u16, of_one_system: u64, seed: u64) -> Outcome {
    let mut chats = Chats::new(CHATS, CHATS_AT_ONCE / CONNECTIONS, CONNECTIONS, (seed, of_one_system));
    load::run(port, CONNECTIONS, Duration::ZERO, |place, request| chats.write_next(place, request)).await
}

/// One table a check.
pub fn tables(rows: &[Row]) -> String {
    let checks = rows.chunk_by(|one, other| one.check == other.check);
    checks.map(|rows| format!("{}\n\n{}\n", rows[0].check, check_table(rows))).collect()
}

fn check_table(rows: &[Row]) -> String {
    let ours = |row: &&Row| row.proxy.starts_with("warmroute");
    let of = |name: &str| rows.iter().find(|row| row.proxy == name).map(|row| row.figure.median);
    let best = rows.iter().filter(|row| !ours(row)).map(|row| row.figure.median).reduce(f64::max);
    let base = of(rows[0].base).or(best);
    let over = format!("over {}", rows[0].base);
    table(
        &["proxy", rows[0].measure, "+-%", &over, "p50 ms", "failed"],
        rows.iter().map(|row| {
            vec![
                row.proxy.to_owned(),
                format!("{:.1}", row.figure.median),
                format!("{:.0}", row.figure.spread * 100.0),
                times(row.figure.median, base),
                format!("{:.1}", row.p50_ms.median),
                row.failed.to_string(),
            ]
        }),
    )
}
