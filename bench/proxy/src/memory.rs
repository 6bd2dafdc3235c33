//! What memory each proxy takes: after many distinct prompts, for clients that stall, for connections and streams that are held.

use std::time::Duration;

use anyhow::ensure;
use futures_util::future::{join_all, try_join_all};
use serde::Serialize;

use crate::connection::Connection;
use crate::contender::{Contender, Proxy};
use crate::figure::table;
use crate::load;
use crate::place::Bench;
use crate::requests::{Requests, Shape, body, hello, post};
use crate::standins::Fleet;

const PROMPTS: u64 = 50_000;
const PROMPT_BYTES: usize = 4 << 10;
/// The stream in which a client stalls: 1,120 pieces of 64 kB are 70 MiB.
const PIECES: usize = 1_120;
const PIECE_BYTES: usize = 64 << 10;
const READ_BEFORE_STALL: usize = 1 << 20;
const IDLE: usize = 10_000;
const STREAMS: usize = 2_000;
/// How long memory may take to grow while a client stalls.
const STALL: Duration = Duration::from_secs(3);

/// Kilobytes of resident memory of one proxy; growth is over what it had just before.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    proxy: &'static str,
    idle_kb: u64,
    after_prompts_kb: u64,
    prompts_failed: u64,
    stalled_client_kb: i64,
    idle_connections: usize,
    idle_connections_kb: i64,
    streams: usize,
    streams_kb: i64,
    after_kb: u64,
}

/// Measures the contenders one after the other.
pub async fn measure(bench: &Bench, contenders: &[&Contender]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for contender in contenders {
        eprintln!("{}", contender.name);
        match measure_one(bench, contender).await {
            Ok(row) => rows.push(row),
            Err(error) => eprintln!("{}: {error:#}", contender.name),
        }
    }
    Ok(rows)
}

async fn measure_one(bench: &Bench, contender: &Contender) -> anyhow::Result<Row> {
    let (idle_kb, after_prompts_kb, prompts_failed) = prompts(bench, contender).await?;
    let stalled_client_kb = stalled(bench, contender).await?;
    let mut held = held(bench, contender).await?;
    (held.idle_kb, held.after_prompts_kb, held.prompts_failed) = (idle_kb, after_prompts_kb, prompts_failed);
    held.stalled_client_kb = stalled_client_kb;
    Ok(held)
}

/// Resident memory before and after all those prompts, and how many failed.
async fn prompts(bench: &Bench, contender: &Contender) -> anyhow::Result<(u64, u64, u64)> {
    let fleet = Fleet::start(bench, 8, &["--speed", "0"]).await?;
    let proxy = contender.start(bench, &fleet.ports).await?;
    let idle = proxy.process.resident_kb()?;
    let requests = Requests::new(Shape { shared: 8, unique: PROMPT_BYTES, groups: 1, streamed: false }, 1);
    let mut number = 0;
    let outcome = load::run(proxy.port, 16, Duration::ZERO, |_, request| {
        number += 1;
        requests.write(0, number, request);
        number <= PROMPTS
    });
    let failed = outcome.await.failed;
    Ok((idle, proxy.process.resident_kb()?, failed))
}

/// How much a client costs that reads 1 MB of 70 and then nothing.
async fn stalled(bench: &Bench, contender: &Contender) -> anyhow::Result<i64> {
    let flags = ["--speed", "0", "--chunk-bytes", &PIECE_BYTES.to_string()];
    let fleet = Fleet::start(bench, 2, &flags).await?;
    let proxy = contender.start(bench, &fleet.ports).await?;
    let request = post(
        &body(&[("user", "all of it")], true)
            .replace("\"max_tokens\":8", &format!("\"max_tokens\":{PIECES}")),
    );
    // One that reads to the end comes first: a proxy keeps the buffers that any stream needs.
    let mut reader = Connection::open_narrow(proxy.port).await?;
    reader.send(&request).await?;
    let read = reader.take(PIECES * PIECE_BYTES).await?;
    ensure!(read >= PIECES * PIECE_BYTES, "the stream ended after {read} bytes");
    let before = proxy.process.resident_kb()?;
    let mut client = Connection::open_narrow(proxy.port).await?;
    client.send(&request).await?;
    client.take(READ_BEFORE_STALL).await?;
    tokio::time::sleep(STALL).await;
    let grown = grown(&proxy, before)?;
    client.take(PIECES * PIECE_BYTES - READ_BEFORE_STALL - PIECE_BYTES).await?;
    Ok(grown)
}

/// Connections that have asked once and wait, and streams that were begun on some of them.
async fn held(bench: &Bench, contender: &Contender) -> anyhow::Result<Row> {
    let fleet =
        Fleet::start(bench, 2, &["--speed", "0", "--allow-fault-injection", "--max-running", "4096"]).await?;
    let proxy = contender.start(bench, &fleet.ports).await?;
    let before = proxy.process.resident_kb()?;
    let mut connections = Vec::new();
    for _ in 0..IDLE / 100 {
        connections.extend(join_all((0..100).map(|_| used_once(proxy.port))).await.into_iter().flatten());
    }
    let idle_connections_kb = grown(&proxy, before)?;
    order_stall(&fleet).await?;
    let before = proxy.process.resident_kb()?;
    let request = post(&body(&[("user", "hold on")], true));
    let mut streams = 0;
    for some in connections.iter_mut().take(STREAMS).collect::<Vec<_>>().chunks_mut(100) {
        let begun = join_all(some.iter_mut().map(|connection| begin(connection, &request))).await;
        streams += begun.into_iter().filter(|begun| *begun).count();
    }
    let streams_kb = grown(&proxy, before)?;
    let idle_connections = connections.len();
    drop(connections);
    tokio::time::sleep(STALL).await;
    let after_kb = proxy.process.resident_kb()?;
    let name = proxy.name;
    Ok(Row {
        proxy: name,
        idle_kb: 0,
        after_prompts_kb: 0,
        prompts_failed: 0,
        stalled_client_kb: 0,
        idle_connections,
        idle_connections_kb,
        streams,
        streams_kb,
        after_kb,
    })
}

fn grown(proxy: &Proxy, before_kb: u64) -> anyhow::Result<i64> {
    Ok(proxy.process.resident_kb()?.cast_signed() - before_kb.cast_signed())
}

async fn used_once(port: u16) -> Option<Connection> {
    let ask = async {
        let mut connection = Connection::open(port).await.ok()?;
        let answer = connection.ask(&hello()).await.ok()?;
        (answer.status == 200).then_some(connection)
    };
    tokio::time::timeout(Duration::from_secs(10), ask).await.ok()?
}

async fn begin(connection: &mut Connection, request: &[u8]) -> bool {
    let begin = async {
        connection.send(request).await?;
        connection.begin().await
    };
    matches!(tokio::time::timeout(Duration::from_secs(10), begin).await, Ok(Ok(200)))
}

/// From now on the workers' answers stop after their first token.
async fn order_stall(fleet: &Fleet) -> anyhow::Result<()> {
    let order = r#"{"fault": "stall_midway"}"#;
    let request =
        format!("POST /faults HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n{order}", order.len());
    let told = fleet.ports.iter().map(|port| {
        let request = &request;
        async move { Connection::open(*port).await?.ask(request.as_bytes()).await }
    });
    let answers = try_join_all(told).await?;
    ensure!(answers.iter().all(|answer| answer.status < 300), "a stand-in takes no orders: {answers:?}");
    Ok(())
}

/// All of it as one table, in megabytes.
pub fn tables(rows: &[Row]) -> String {
    let mb = |kb: f64| format!("{:.1}", kb / 1024.0);
    let headings = [
        "proxy",
        "idle, 8 workers",
        "after 50,000 prompts of 4 kB",
        "failed",
        "+ stalled client",
        "idle connections held",
        "+ for them",
        "streams held",
        "+ for them",
        "3 s after",
    ];
    table(
        &headings,
        rows.iter().map(|row| {
            vec![
                row.proxy.to_owned(),
                mb(row.idle_kb as f64),
                mb(row.after_prompts_kb as f64),
                row.prompts_failed.to_string(),
                mb(row.stalled_client_kb as f64),
                row.idle_connections.to_string(),
                mb(row.idle_connections_kb as f64),
                row.streams.to_string(),
                mb(row.streams_kb as f64),
                mb(row.after_kb as f64),
            ]
        }),
    )
}
