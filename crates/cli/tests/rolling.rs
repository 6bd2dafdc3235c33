//! A new gateway takes the port over while the old one drains, and no request fails: each with a socket of its own on the same port, or
//! one after the other with the same socket, which is handed to it.
//!
//! Nothing here can wait for ever: a failure ends every client, logs are read to their end by threads of their own, and all of it has
//! one limit.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;
use warmroute_worker::emulated::{self, EmulatedConfig};

/// Half of them keep their connections open, the others open one for each request.
const CLIENTS: usize = 8;
const RESTARTS: usize = 3;
/// Only a hang takes so long.
const LIMIT: Duration = Duration::from_secs(60);

/// A gateway in a process of its own.
struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    /// Starts one, and waits until it listens and its worker is up, which it may say in either order.
    async fn start(listen: &Listen, worker: &str) -> Self {
        let mut command = listen.command();
        let arguments = ["--worker", worker, "--drain-delay-ms=500", "--log=info", "--log-format=json"];
        let mut child = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = follow(BufReader::new(child.stderr.take().unwrap()));
        // Held from here on, so that it does not outlive a test that fails.
        let mut gateway = Self { child, address: String::new() };
        let mut up = false;
        while gateway.address.is_empty() || !up {
            let line = log.recv().await.expect("the gateway has ended before it was up");
            up |= line.contains("worker is up");
            if line.contains("gateway listens") {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                line["address"].as_str().unwrap().clone_into(&mut gateway.address);
            }
        }
        gateway
    }

    /// Drains it, and waits until it has ended.
    async fn end(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let ended = tokio::task::spawn_blocking(move || self.child.wait().unwrap().code());
        assert_eq!(ended.await.unwrap(), Some(0));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a gateway comes to its port.
enum Listen {
    /// It opens a socket at this address, beside others.
    Beside(String),
    /// It is handed this one, as systemd does it.
    On(TcpListener),
}

/// A shell is told to put what it reads from at 3, where sockets that are handed over begin.
const HAND_OVER: &str = r#"exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@""#;

impl Listen {
    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_warmroute");
        match self {
            Self::Beside(address) => {
                let mut command = Command::new(binary);
                command.args(["gateway", "--listen", address, "--reuse-port=true"]);
                command
            }
            Self::On(socket) => {
                let mut command = Command::new("sh");
                command.args(["-c", HAND_OVER, binary, "gateway"]);
                command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
                command
            }
        }
    }
}

/// The lines of a log, which is read whether somebody asks for them or not: a pipe that is full would stop who writes it.
fn follow(log: impl BufRead + Send + 'static) -> UnboundedReceiver<String> {
    let (lines, read) = unbounded_channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    read
}

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    answered: AtomicUsize,
    /// The first request that failed, and how.
    failed: OnceLock<String>,
}

impl Seen {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst) || self.failed.get().is_some()
    }
}

/// Asks one request after the other.
async fn ask(gateway: String, keep_alive: bool, seen: Arc<Seen>) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    while !seen.is_over() {
        match complete(&client, &gateway, keep_alive).await {
            Ok(()) => _ = seen.answered.fetch_add(1, Ordering::SeqCst),
            Err(how) => _ = seen.failed.set(how),
        }
    }
}

async fn complete(
    client: &Client<HttpConnector, Full<Bytes>>,
    gateway: &str,
    keep_alive: bool,
) -> Result<(), String> {
    let request = http::Request::post(format!("http://{gateway}/v1/completions"))
        .header("content-type", "application/json")
        .header("connection", if keep_alive { "keep-alive" } else { "close" })
        .body(Full::from(r#"{"model":"emulated","prompt":"Once upon a time","max_tokens":4}"#))
        .unwrap();
    let answer = client.request(request).await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| format!("{status}, cut: {error:?}"))?;
    match status.as_u16() {
        200 => Ok(()),
        _ => Err(format!("{status}: {}", String::from_utf8_lossy(&body.to_bytes()))),
    }
}

/// Waits until so many more requests were answered.
async fn answered(seen: &Seen, more: usize) {
    let wanted = seen.answered.load(Ordering::SeqCst) + more;
    while seen.answered.load(Ordering::SeqCst) < wanted && !seen.is_over() {
        tokio::task::yield_now().await;
    }
}

async fn restart_again_and_again(mut listen: Listen, seen: &Arc<Seen>) {
    let worker = emulated::start(EmulatedConfig::default()).await.unwrap();
    let worker_url = format!("http://{}", worker.address());
    let mut old = Gateway::start(&listen, &worker_url).await;
    if let Listen::Beside(address) = &mut listen {
        address.clone_from(&old.address);
    }
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(ask(old.address.clone(), number % 2 == 0, Arc::clone(seen)));
    }
    answered(seen, 100).await;
    for _ in 0..RESTARTS {
        let new = Gateway::start(&listen, &worker_url).await;
        std::mem::replace(&mut old, new).end().await;
        answered(seen, 100).await;
    }
    seen.over.store(true, Ordering::SeqCst);
    clients.join_all().await;
    old.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_beside_the_old_one_fails_no_request() {
    restart(Listen::Beside("127.0.0.1:0".to_owned())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_on_a_socket_that_is_handed_over_fails_no_request() {
    restart(Listen::On(TcpListener::bind("127.0.0.1:0").unwrap())).await;
}

async fn restart(listen: Listen) {
    let seen = Arc::new(Seen::default());
    let ended = timeout(LIMIT, restart_again_and_again(listen, &seen)).await;
    println!("{} requests over {RESTARTS} restarts", seen.answered.load(Ordering::SeqCst));
    assert_eq!(seen.failed.get(), None);
    ended.expect("it took too long: this is a hang");
}
