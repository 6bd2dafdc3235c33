//! Mutated bodies by the thousand over connections that are kept open, against a gateway in a process of its own.
//!
//! Each answer is checked: a body that was passed on reached the worker byte for byte, one that was not is the client's own fault, and
//! the connection goes on. The gateway's memory stays where it was.
//!
//! ```sh
//! cargo test -p warmroute-cli --test hostile                 # a few thousand bodies
//! just hostile                                               # a million, by a release build
//! WARMROUTE_HOSTILE_SEED=7 just hostile
//! ```
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod client;
mod mutate;
mod worker;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use self::client::Client;
use self::mutate::Mutator;

/// Connections, each with a thread of its own.
const CLIENTS: u64 = 8;
/// The gateway may hold so much more at the end than after the first tenth: allocators keep some of what they once had.
const GROWTH_BYTES: usize = 16 << 20;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A gateway in a process of its own.
struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    fn start(worker: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmroute"));
        command.args(["gateway", "--listen=127.0.0.1:0", "--worker", worker, "--router-bytes=16777216"]);
        let command = command.args(["--log=info", "--log-format=json"]).stderr(Stdio::piped());
        let mut gateway = Self { child: command.spawn().unwrap(), address: String::new() };
        let mut log = BufReader::new(gateway.child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("gateway listens")).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["address"].as_str().unwrap().clone_into(&mut gateway.address);
        // A pipe that is full would stop who writes it; what stands in it is a panic, if anything.
        std::thread::spawn(move || log.for_each(|line| eprintln!("{line}")));
        gateway
    }

    /// Memory of the process.
    fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        kilobytes.trim_end_matches("kB").trim().parse::<usize>().unwrap() << 10
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers by status.
type Counts = BTreeMap<u16, u64>;

/// Sends so many bodies over each connection.
fn send(gateway: &Gateway, seed: u64, each: u64) -> Counts {
    let one = |number: u64| {
        let address = gateway.address.clone();
        std::thread::spawn(move || {
            let (mut client, mut mutator) = (Client::connect(&address), Mutator::new(seed ^ (number << 32)));
            let mut counts = Counts::new();
            for _ in 0..each {
                let (path, body) = mutator.next();
                *counts.entry(client.ask(path, &body)).or_default() += 1;
            }
            counts
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(one).collect();
    let mut all = Counts::new();
    for client in clients {
        for (status, count) in client.join().expect("a client has told what is wrong") {
            *all.entry(status).or_default() += count;
        }
    }
    all
}

#[test]
fn no_body_breaks_the_gateway_or_reaches_a_worker_changed() {
    let (bodies, seed) = (setting("WARMROUTE_HOSTILE_BODIES", 4_000), setting("WARMROUTE_HOSTILE_SEED", 1));
    println!("{bodies} bodies with seed {seed} (WARMROUTE_HOSTILE_SEED={seed} repeats it)");
    let mut gateway = Gateway::start(&worker::start());
    let idle = gateway.resident_bytes();
    let (first, began) = (bodies / CLIENTS / 10, Instant::now());
    let mut counts = send(&gateway, seed, first);
    let warm = gateway.resident_bytes();
    for (status, count) in send(&gateway, !seed, bodies / CLIENTS - first) {
        *counts.entry(status).or_default() += count;
    }
    let end = gateway.resident_bytes();
    println!("answers by status: {counts:?} in {:.1?}", began.elapsed());
    println!("memory: {} kB idle, {} kB after a tenth, {} kB at the end", idle >> 10, warm >> 10, end >> 10);
    assert_eq!(gateway.child.try_wait().unwrap(), None, "the gateway has ended");
    assert!(counts.keys().all(|status| [200, 400, 404].contains(status)), "{counts:?}");
    assert!(end < warm + GROWTH_BYTES, "memory grew from {warm} to {end} bytes");
}
