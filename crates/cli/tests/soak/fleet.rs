//! A gateway in a process of its own and workers that come and go before it: some publish KV events and restart where they were, others
//! are replaced by new ones at new addresses.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::sleep;
use warmroute_kv::Tokens;
use warmroute_worker::emulated::{self, EmulatedConfig, RunningEmulator};
use warmroute_worker::publish::{KvEndpoints, KvPublishing};

use crate::load::{Http, delete, get, post};

const PUBLISHING: usize = 3;
const PASSING: usize = 3;
const ANY_PORT: &str = "tcp://127.0.0.1:0";
/// So small that a worker's is full a few seconds after its start, and that what the gateway remembers of all is full within `FILLING`.
const CACHE: Tokens = Tokens(4 * 1024);
const ROUTER_BYTES: usize = 2 << 20;
/// What is wrong with some of those that pass.
const FAULTS: [&str; 4] = ["status_500:p=0.5", "reset_midway:p=0.5", "stall:p=0.2", "status_429:p=0.5"];

/// A worker that publishes what its cache does.
struct Publishing {
    worker: Option<RunningEmulator>,
    address: SocketAddr,
    endpoints: KvEndpoints,
}

/// All of it.
pub(crate) struct Fleet {
    publishing: Vec<Publishing>,
    passing: Vec<RunningEmulator>,
    gateway: Gateway,
    http: Http,
    turn: usize,
}

/// The gateway's process, which ends with this.
pub(crate) struct Gateway {
    child: Child,
    scratch: PathBuf,
    pub(crate) clients: String,
    pub(crate) operators: String,
}

async fn worker(listen: SocketAddr, endpoints: Option<(&str, &str)>) -> RunningEmulator {
    let kv_events = endpoints.map(|(events, replay)| KvPublishing {
        replay: Some(replay.parse().unwrap()),
        ..KvPublishing::at(events.parse().unwrap())
    });
    let grace = Duration::from_secs(1);
    let config =
        EmulatedConfig { listen, kv_events, kv_cache_tokens: CACHE, grace, ..EmulatedConfig::default() };
    // The sockets of the one before may take a moment to close.
    for _ in 0..1_000 {
        if let Ok(worker) = emulated::start(config.clone()).await {
            return worker;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{listen} does not become free")
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Publishing {
    async fn start() -> Self {
        let worker = worker(anywhere(), Some((ANY_PORT, ANY_PORT))).await;
        let (address, endpoints) = (worker.address(), worker.kv_endpoints().unwrap().clone());
        Self { worker: Some(worker), address, endpoints }
    }

    /// A new process at the same addresses, with an empty cache.
    async fn restart(&mut self) {
        self.worker = None;
        let replay = self.endpoints.replay.as_ref().unwrap();
        self.worker = Some(worker(self.address, Some((&self.endpoints.events, replay))).await);
    }

    fn settings(&self) -> String {
        let (events, replay) = (&self.endpoints.events, self.endpoints.replay.as_ref().unwrap());
        let url = format!("http://{}", self.address);
        format!("[[workers]]\nurl = \"{url}\"\nkv_events = \"{events}\"\nkv_replay = \"{replay}\"\n")
    }
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let (mut publishing, mut passing) = (Vec::new(), Vec::new());
        for _ in 0..PUBLISHING {
            publishing.push(Publishing::start().await);
        }
        let settings: String = publishing.iter().map(Publishing::settings).collect();
        let (gateway, http) = (Gateway::start(&settings), crate::load::http());
        for _ in 0..PASSING {
            let worker = worker(anywhere(), None).await;
            gateway.take_in(&http, &worker).await;
            passing.push(worker);
        }
        Self { publishing, passing, gateway, http, turn: 0 }
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Something changes: a worker goes and another comes, a publisher starts anew, or the settings are read again.
    pub(crate) async fn change(&mut self) {
        self.turn += 1;
        if self.turn.is_multiple_of(6) {
            let place = self.turn / 6 % PUBLISHING;
            self.publishing[place].restart().await;
        }
        if self.turn.is_multiple_of(2) {
            let (status, text) =
                post(&self.http, &format!("{}/reload", self.gateway.operators), String::new()).await;
            assert_eq!(status, 200, "{text}");
        }
        let new = worker(anywhere(), None).await;
        if self.turn.is_multiple_of(3) {
            new.faults().add(FAULTS[self.turn / 3 % FAULTS.len()].parse().unwrap());
        }
        self.gateway.take_in(&self.http, &new).await;
        let place = self.turn % PASSING;
        let old = std::mem::replace(&mut self.passing[place], new);
        let url = format!("{}/workers/{}", self.gateway.operators, old.address());
        assert!(delete(&self.http, &url).await < 300);
        // Some end in good order, and others with all that they have.
        if self.turn.is_multiple_of(4) {
            old.kill();
        } else {
            old.shutdown().await;
        }
    }

    /// Blocks in the caches of the workers that publish them, and of the others that there are now.
    pub(crate) fn cached_blocks(&self) -> (f64, f64) {
        let publishing = self.publishing.iter().filter_map(|publishing| publishing.worker.as_ref());
        let blocks = |worker: &RunningEmulator| worker.cached_blocks().as_f64();
        (publishing.map(blocks).sum(), self.passing.iter().map(blocks).sum())
    }

    pub(crate) async fn metrics(&self) -> String {
        get(&self.http, &format!("{}/metrics", self.gateway.clients)).await
    }
}

impl Gateway {
    fn start(workers: &str) -> Self {
        let scratch = std::env::temp_dir().join(format!("warmroute-soak-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).unwrap();
        let file = scratch.join("gateway.toml");
        let text = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nprobe_interval_ms = 500\n\
             first_byte_timeout_ms = 1000\nrouter_bytes = {ROUTER_BYTES}\naccess_log = \"/dev/null\"\n\
             [[models]]\nname = \"emulated\"\ntokenizer = \"worker\"\n{workers}"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmroute"));
        let arguments = ["gateway", "--log=info", "--log-format=json", "--config"];
        let mut child = command.args(arguments).arg(&file).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("gateway listens")).expect("the gateway listens");
        // Read to its end: a pipe that is full would stop who writes it.
        std::thread::spawn(move || log.for_each(drop));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let url = |name: &str| {
            let shown = line[name].as_str().unwrap().trim_start_matches("Some(").trim_end_matches(')');
            format!("http://{shown}")
        };
        Self { clients: url("address"), operators: url("admin_address"), child, scratch }
    }

    async fn take_in(&self, http: &Http, worker: &RunningEmulator) {
        let body = format!("{{\"url\": \"http://{}\"}}", worker.address());
        let (status, text) = post(http, &format!("{}/workers", self.operators), body).await;
        assert!(status < 300, "{status}: {text}");
    }

    /// What the system says of the process, by the name of a file or folder.
    pub(crate) fn process(&self, what: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{what}", self.child.id()))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}
