//! What a request costs in each proxy: CPU, added time, throughput and memory, before stand-ins that answer at once.
//!
//! All run at the same time and are loaded one after the other, in rounds whose order is turned round each time, so that what else
//! happens on the machine falls on all of them.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::contender::{Contender, Proxy};
use crate::figure::{Figure, table, times};
use crate::load::{self, Outcome};
use crate::place::Bench;
use crate::requests::{Requests, Shape};
use crate::standins::Fleet;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub rounds: usize,
    pub seconds: f64,
}

/// One load.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    shape: Shape,
    connections: usize,
    pause: Duration,
}

const CONNECTIONS: usize = 16;
/// Three quarters of a body are shared by one in so many requests.
const GROUPS: usize = 64;
const NONE: Duration = Duration::ZERO;
/// At this pause (on average), 16 connections leave every proxy idle most of the time: what is seen is the way, not the queue.
const PAUSE: Duration = Duration::from_millis(20);

const fn shape(bytes: usize, streamed: bool) -> Shape {
    // The members around the texts take about 130 bytes.
    let text = bytes - 130;
    Shape { shared: text * 3 / 4, unique: text / 4, groups: GROUPS, streamed }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "200 B", shape: shape(200, false), connections: CONNECTIONS, pause: NONE },
    Case { name: "200 B, streamed", shape: shape(200, true), connections: CONNECTIONS, pause: NONE },
    Case { name: "8 kB", shape: shape(8 << 10, false), connections: CONNECTIONS, pause: NONE },
    Case { name: "8 kB, streamed", shape: shape(8 << 10, true), connections: CONNECTIONS, pause: NONE },
    Case { name: "64 kB", shape: shape(64 << 10, false), connections: CONNECTIONS, pause: NONE },
    Case { name: "64 kB, streamed", shape: shape(64 << 10, true), connections: CONNECTIONS, pause: NONE },
    Case { name: "200 B, one connection", shape: shape(200, false), connections: 1, pause: NONE },
    Case { name: "200 B, streamed, one connection", shape: shape(200, true), connections: 1, pause: NONE },
    Case { name: "8 kB, streamed, 16 connections that pause", shape: shape(8 << 10, true), connections: CONNECTIONS, pause: PAUSE },
];

/// One round of one proxy; times in microseconds.
#[derive(Clone, Copy, Debug)]
struct Round {
    cpu: f64,
    per_second: f64,
    first_p50: f64,
    first_p99: f64,
    whole_p50: f64,
    whole_p99: f64,
    resident_mb: f64,
    failed: f64,
}

/// All rounds of one proxy in one case. The row of no proxy at all has neither CPU nor memory.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    case: &'static str,
    proxy: &'static str,
    cpu_us: Figure,
    requests_per_second: Figure,
    first_byte_p50_us: Figure,
    first_byte_p99_us: Figure,
    p50_us: Figure,
    p99_us: Figure,
    resident_mb: Figure,
    failed: f64,
}

const DIRECT: &str = "no proxy";
/// What the names of cases with one connection hold.
const ALONE: &str = "one connection";

/// Measures all contenders in all cases, or in those whose name holds a word.
pub async fn measure(
    bench: &Bench,
    contenders: &[&Contender],
    effort: Effort,
    only: &str,
) -> anyhow::Result<Vec<Row>> {
    let mut fleet = Fleet::start(bench, 4, &["--speed", "0"]).await?;
    let mut proxies = Vec::new();
    for contender in contenders {
        proxies.push(contender.start(bench, &fleet.ports).await?);
    }
    let mut rows = Vec::new();
    for case in CASES.iter().filter(|case| case.name.contains(only)) {
        eprintln!("{}", case.name);
        rows.extend(measure_case(case, &mut proxies, fleet.ports[0], effort).await?);
        fleet.must_run()?;
    }
    Ok(rows)
}

async fn measure_case(
    case: &Case,
    proxies: &mut [Proxy],
    direct: u16,
    effort: Effort,
) -> anyhow::Result<Vec<Row>> {
    let requests = Requests::new(case.shape, 1);
    let mut number = 0;
    let mut load = async |port, seconds| {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let mut rng = fastrand::Rng::with_seed(number);
        load::run(port, case.connections, case.pause, |_, request| {
            number += 1;
            requests.write(rng.usize(..GROUPS), number, request);
            Instant::now() < until
        })
        .await
    };
    for proxy in &*proxies {
        load(proxy.port, 0.3).await;
    }
    let (mut rounds, mut bare) = (vec![Vec::new(); proxies.len()], Vec::new());
    for round in 0..effort.rounds {
        let order: Vec<_> =
            if round % 2 == 0 { (0..proxies.len()).collect() } else { (0..proxies.len()).rev().collect() };
        bare.push(Round::of(&load(direct, effort.seconds).await, f64::NAN, f64::NAN));
        for place in order {
            let proxy = &mut proxies[place];
            proxy.process.must_run()?;
            let before = proxy.process.cpu()?;
            let outcome = load(proxy.port, effort.seconds).await;
            let cpu = (proxy.process.cpu()? - before).as_secs_f64();
            rounds[place].push(Round::of(&outcome, cpu, proxy.process.resident_kb()? as f64 / 1024.0));
        }
    }
    let named = proxies.iter().map(|proxy| proxy.name).zip(rounds);
    Ok(std::iter::once((DIRECT, bare))
        .chain(named)
        .map(|(name, rounds)| Row::of(case.name, name, &rounds))
        .collect())
}

impl Round {
    fn of(outcome: &Outcome, cpu_seconds: f64, resident_mb: f64) -> Self {
        let answers = outcome.answers.len().max(1) as f64;
        Self {
            cpu: cpu_seconds * 1e6 / answers,
            per_second: outcome.per_second(),
            first_p50: outcome.quantile(0.5, |answer| answer.first_us),
            first_p99: outcome.quantile(0.99, |answer| answer.first_us),
            whole_p50: outcome.quantile(0.5, |answer| answer.whole_us),
            whole_p99: outcome.quantile(0.99, |answer| answer.whole_us),
            resident_mb,
            failed: outcome.failed as f64,
        }
    }
}

impl Row {
    fn of(case: &'static str, proxy: &'static str, rounds: &[Round]) -> Self {
        let figure = |value: fn(&Round) -> f64| Figure::of(rounds.iter().map(value));
        Self {
            case,
            proxy,
            cpu_us: figure(|round| round.cpu),
            requests_per_second: figure(|round| round.per_second),
            first_byte_p50_us: figure(|round| round.first_p50),
            first_byte_p99_us: figure(|round| round.first_p99),
            p50_us: figure(|round| round.whole_p50),
            p99_us: figure(|round| round.whole_p99),
            resident_mb: figure(|round| round.resident_mb),
            failed: rounds.iter().map(|round| round.failed).sum(),
        }
    }
}

/// One table a case; a ratio stands beside its figure and is to HAProxy's.
pub fn tables(rows: &[Row]) -> String {
    let cases = rows.chunk_by(|one, other| one.case == other.case);
    cases.map(|rows| format!("{}\n\n{}\n", rows[0].case, case_table(rows))).collect()
}

fn case_table(rows: &[Row]) -> String {
    let mut headings = vec!["proxy", "CPU us", "+-%", "", "first byte p50 us", "+-%", "", "p50 us", "p99 us"];
    // With one connection nobody waits for anybody, and what is more than without a proxy is the proxy's.
    let alone = rows[0].case.contains(ALONE);
    if alone {
        headings.extend(["added p50 us", "", "added p99 us", ""]);
    }
    headings.extend(["requests/s", "", "RSS MB", "failed"]);
    table(&headings, rows.iter().map(|row| cells(row, rows, alone)))
}

fn cells(row: &Row, rows: &[Row], alone: bool) -> Vec<String> {
    let of = |name: &str| rows.iter().find(|row| row.proxy == name);
    let ratio = |value: &dyn Fn(&Row) -> f64| times(value(row), of("haproxy").map(value));
    let percent = |figure: Figure| format!("{:.0}", figure.spread * 100.0);
    let whole = |value: f64| format!("{value:.0}");
    let bare = |value: fn(&Row) -> f64| of(DIRECT).map_or(f64::NAN, value);
    let mut cells = vec![row.proxy.to_owned(), format!("{:.1}", row.cpu_us.median), percent(row.cpu_us)];
    cells.push(ratio(&|row| row.cpu_us.median));
    cells.extend([whole(row.first_byte_p50_us.median), percent(row.first_byte_p50_us)]);
    cells.push(ratio(&|row| row.first_byte_p50_us.median));
    cells.extend([whole(row.p50_us.median), whole(row.p99_us.median)]);
    if alone {
        let p50 = |row: &Row| row.p50_us.median - bare(|bare| bare.p50_us.median);
        let p99 = |row: &Row| row.p99_us.median - bare(|bare| bare.p99_us.median);
        cells.extend([whole(p50(row)), ratio(&p50), whole(p99(row)), ratio(&p99)]);
    }
    cells.extend([whole(row.requests_per_second.median), ratio(&|row| row.requests_per_second.median)]);
    cells.extend([whole(row.resident_mb.median), whole(row.failed)]);
    if row.proxy == DIRECT {
        cells.iter_mut().filter(|cell| cell.starts_with("NaN")).for_each(|cell| "-".clone_into(cell));
    }
    cells
}
