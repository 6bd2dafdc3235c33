//! The built gateway as its operators meet it: `--check`, SIGHUP, and a request log that the simulator replays.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene should stop")]

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

fn warmroute(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warmroute")).args(arguments).output().unwrap()
}

/// A directory of one test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("warmroute-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A service that runs until the test ends.
struct Service {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Service {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmroute"));
        let command = command.args(arguments).args(["--log=info", "--log-format=json"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// The next line of its log that says `text`.
    fn says(&mut self, text: &str) -> String {
        self.log.by_ref().map(Result::unwrap).find(|line| line.contains(text)).unwrap()
    }

    /// Where it listens, from the log line that tells it.
    fn address(&mut self, text: &str) -> String {
        let line: serde_json::Value = serde_json::from_str(&self.says(text)).unwrap();
        line["address"].as_str().unwrap().to_owned()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn end(mut self) {
        self.signal("-TERM");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A worker that answers every request in the same way.
fn worker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || while answer(&mut stream).is_some() {});
        }
    });
    address
}

fn answer(stream: &mut TcpStream) -> Option<()> {
    let (mut read, mut buffer) = (Vec::new(), [0; 65_536]);
    loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        read.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&read).to_lowercase();
        let Some(head) = text.find("\r\n\r\n") else { continue };
        let length = text
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap_or_default().parse::<usize>().unwrap_or(0));
        if read.len() >= head + 4 + length {
            break;
        }
    }
    let body = r#"{"usage":{"prompt_tokens":300,"completion_tokens":5}}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()
}

fn complete(gateway: &str, prompt: &str) -> String {
    let body = serde_json::json!({"model": "m", "prompt": prompt}).to_string();
    let mut stream = TcpStream::connect(gateway).unwrap();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

#[test]
fn check_says_what_is_wrong_and_where_or_what_is_unusual() {
    let scratch = Scratch::new("check");
    let good = scratch.write("good.toml", "max_attempts = 2\n[[workers]]\nurl = \"http://w:1\"\n");
    let output = warmroute(&["gateway", "--check", "--config", good.to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("max_attempts = 2") && said.contains("http://w:1"), "{said}");
    for (text, line, name) in [
        ("max_atempts = 2\n", 1, "did you mean `max_attempts`?"),
        ("seed = 1\n[[workers]]\nulr = \"http://w:1\"\n", 3, "did you mean `url`?"),
        ("policy = \"cache_awre\"\n", 1, "did you mean cache_aware?"),
        ("policy = \"cache_aware:kapa=2\"\n", 1, "did you mean kappa?"),
        ("\nmax_attempts = \"two\"\n", 2, "Most workers tried"),
    ] {
        let bad = scratch.write("bad.toml", text);
        let output = warmroute(&["gateway", "--check", "--config", bad.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("bad.toml, line {line}: ")) && said.contains(name), "{said}");
    }
}

#[test]
fn a_hangup_reloads_and_a_mistake_is_told_in_the_log() {
    let scratch = Scratch::new("hangup");
    let worker = worker();
    let text = |policy: &str| {
        format!("listen = \"127.0.0.1:0\"\npolicy = \"{policy}\"\n[[workers]]\nurl = \"http://{worker}\"\n")
    };
    let file = scratch.write("gateway.toml", &text("round_robin"));
    let mut gateway = Service::start(&["gateway", "--config", file.to_str().unwrap()]);
    let address = gateway.address("gateway listens");
    assert!(complete(&address, "x").contains("x-warmroute-policy: round_robin"));
    scratch.write("gateway.toml", &text("random"));
    gateway.signal("-HUP");
    gateway.says("settings are reloaded");
    assert!(complete(&address, "x").contains("x-warmroute-policy: random"));
    scratch.write("gateway.toml", &text("rundom"));
    gateway.signal("-HUP");
    assert!(gateway.says("were not reloaded").contains("did you mean random?"));
    assert!(complete(&address, "x").contains("x-warmroute-policy: random"));
    gateway.end();
}

#[test]
fn a_request_log_is_replayed_by_the_simulator() {
    let scratch = Scratch::new("replay");
    let log = scratch.0.join("requests.jsonl");
    let workers = [worker(), worker()].map(|address| format!("http://{address}")).join(",");
    let mut gateway = Service::start(&[
        "gateway",
        "--listen=127.0.0.1:0",
        "--worker",
        &workers,
        "--request-log",
        log.to_str().unwrap(),
    ]);
    let address = gateway.address("gateway listens");
    let system = "You are the help desk of a bicycle shop. ".repeat(30);
    for question in ["What is a derailleur?", "How much is a bell?", "Why?", "Where is the pump?"] {
        complete(&address, &(system.clone() + question));
    }
    gateway.end();
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 4);

    let report = replay(&log);
    for run in report["runs"].as_array().unwrap() {
        assert_eq!(run["requests"], 4, "{run:#}");
    }
}

fn replay(log: &Path) -> serde_json::Value {
    let log = log.to_str().unwrap();
    let output = warmroute(&[
        "simulate",
        "--trace",
        log,
        "--trace-block=64",
        "--trace-timestamps=as-is",
        "--workers=2",
        "--cache-tokens=100k",
        "--policy=cache_aware,random",
        "--json",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}
