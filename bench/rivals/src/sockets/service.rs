//! An indexer service with the API of Mooncake's RFC 1403: how each is started, and what it is told and asked.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::process::Process;
use crate::ingestion::{BLOCK_TOKENS, tokens};

/// For anything that is waited for: far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks; a look costs the service less than a millisecond.
const PAUSE: Duration = Duration::from_millis(20);
const MODEL: &str = "m";

/// Its name and its command line, given the program of ours and a free port. Its own defaults otherwise.
pub type Launch = (&'static str, fn(&Path, u16) -> anyhow::Result<Command>);

/// All of them, ours first. Ratios are to it.
pub const SERVICES: [Launch; 2] = [
    ("warmroute index", |program, port| {
        let mut command = Command::new(program);
        command.args(["--log", "warn", "index", "--listen", &format!("127.0.0.1:{port}")]);
        Ok(command)
    }),
    ("dynamo 1.6.1, its indexer service", |_, port| {
        let mut command = Command::new(std::env::current_exe()?.with_file_name("dynamo-indexer"));
        command.arg(port.to_string());
        Ok(command)
    }),
];

/// One that runs.
pub struct Service {
    pub process: Process,
    url: String,
    client: Client,
    runtime: Runtime,
}

impl Service {
    /// Starts it and waits until it answers.
    pub fn start((name, command): Launch, program: &Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let logs = std::env::temp_dir();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let process = Process::start(name, command(program, port)?, &logs)?;
        let mut service =
            Self { process, url: format!("http://127.0.0.1:{port}"), client: Client::new(), runtime };
        let health = service.client.get(format!("{}/health", service.url));
        service.wait(|service| {
            let answer = service.runtime.block_on(health.try_clone().expect("it has no body").send());
            Ok(answer.is_ok_and(|answer| answer.status().is_success()))
        })?;
        Ok(service)
    }

    /// Has it follow these, whose instances are their places.
    pub fn follow(&self, endpoints: &[String]) -> anyhow::Result<()> {
        for (publisher, endpoint) in endpoints.iter().enumerate() {
            let publisher = json!({
                "instance_id": publisher, "endpoint": endpoint, "model_name": MODEL, "block_size": BLOCK_TOKENS,
            });
            self.post("register", &publisher)?;
        }
        Ok(())
    }

    /// Tokens of the prompt that this publisher holds.
    pub fn holds(&self, publisher: u32, prompt: u32) -> anyhow::Result<u64> {
        let answer = self.post("query", &json!({ "model_name": MODEL, "token_ids": tokens(prompt) }))?;
        Ok(answer["instances"][publisher.to_string()]["gpu"].as_u64().unwrap_or(0))
    }

    /// Waits until it is so.
    pub fn wait(&mut self, is_so: impl Fn(&Self) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let began = Instant::now();
        while !is_so(self)? {
            self.process.must_run()?;
            ensure!(began.elapsed() < PATIENCE, "{} takes too long, or has lost something", self.url);
            sleep(PAUSE);
        }
        Ok(())
    }

    fn post(&self, what: &str, body: &Value) -> anyhow::Result<Value> {
        self.runtime.block_on(async {
            let answer = self.client.post(format!("{}/{what}", self.url)).json(body).send().await?;
            let (status, text) = (answer.status(), answer.text().await?);
            if !status.is_success() {
                bail!("POST /{what}: {status}: {text}");
            }
            Ok(serde_json::from_str(&text)?)
        })
    }
}
