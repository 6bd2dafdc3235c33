//! How each proxy is told to listen on one port, on so many threads, before these workers, and to keep quiet.
//!
//! Everything else is left as each project ships it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::place::Bench;

/// What a command line is made of.
#[derive(Debug)]
pub struct Launch<'a> {
    pub bench: &'a Bench,
    pub program: PathBuf,
    pub port: u16,
    pub metrics_port: u16,
    pub workers: &'a [u16],
}

impl Launch<'_> {
    fn urls(&self) -> Vec<String> {
        self.workers.iter().map(|port| format!("http://127.0.0.1:{port}")).collect()
    }

    fn written(&self, name: &str, settings: &str) -> anyhow::Result<PathBuf> {
        let path = self.bench.scratch.join(name);
        fs::write(&path, settings)?;
        Ok(path)
    }

    /// The part that the three Rust routers with Python launchers share. Their runtimes take the number of threads from the environment.
    fn router(&self, command: &[&str], policy: &str) -> Command {
        let mut it = Command::new(&self.program);
        it.args(command).args(["--host", "127.0.0.1", "--port", &self.port.to_string(), "--policy", policy]);
        it.args(["--prometheus-host", "127.0.0.1", "--prometheus-port", &self.metrics_port.to_string()]);
        it.arg("--worker-urls").args(self.urls());
        it.args(["--log-level", "error"]);
        it.env("TOKIO_WORKER_THREADS", self.bench.threads.to_string());
        it
    }
}

pub fn haproxy(it: &Launch) -> anyhow::Result<Command> {
    let servers =
        it.workers.iter().map(|port| format!("  server w{port} 127.0.0.1:{port}\n")).collect::<String>();
    let settings = format!(
        "global\n  nbthread {threads}\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 120s\n  \
         timeout server 120s\n  option http-keep-alive\n  http-reuse always\nfrontend f\n  bind 127.0.0.1:{port}\n  \
         default_backend b\nbackend b\n  balance roundrobin\n{servers}",
        threads = it.bench.threads,
        port = it.port
    );
    let mut command = Command::new(&it.program);
    command.arg("-db").arg("-f").arg(it.written("haproxy.cfg", &settings)?);
    Ok(command)
}

/// As the guides for inference servers have it: no buffering of answers, keep-alive to workers, bodies up to 64 MB. One process
/// and no master, so that its account is the proxy's.
pub fn nginx(it: &Launch) -> anyhow::Result<Command> {
    let servers = it.workers.iter().map(|port| format!("    server 127.0.0.1:{port};\n")).collect::<String>();
    let scratch = it.bench.scratch.display();
    let settings = format!(
        "daemon off;\nmaster_process off;\npid {scratch}/nginx.pid;\nerror_log {scratch}/nginx-error.log warn;\n\
         worker_rlimit_nofile 20000;\nevents {{ worker_connections 16384; }}\nhttp {{\n  access_log off;\n  client_max_body_size 64m;\n  \
         client_body_buffer_size 256k;\n  client_body_temp_path {scratch}/nginx-body;\n  proxy_temp_path {scratch}/nginx-proxy;\n  \
         fastcgi_temp_path {scratch}/nginx-f;\n  uwsgi_temp_path {scratch}/nginx-u;\n  scgi_temp_path {scratch}/nginx-s;\n  \
         keepalive_requests 1000000000;\n  upstream b {{\n{servers}    keepalive 64;\n    keepalive_requests 1000000000;\n  }}\n  \
         server {{\n    listen 127.0.0.1:{port};\n    location / {{\n      proxy_pass http://b;\n      proxy_http_version 1.1;\n      \
         proxy_set_header Connection \"\";\n      proxy_buffering off;\n      proxy_read_timeout 120s;\n    }}\n  }}\n}}\n",
        port = it.port
    );
    let mut command = Command::new(&it.program);
    command
        .arg("-e")
        .arg(it.bench.scratch.join("nginx-start.log"))
        .arg("-c")
        .arg(it.written("nginx.conf", &settings)?);
    Ok(command)
}

pub fn warmroute(it: &Launch, policy: &str) -> Command {
    let mut command = Command::new(&it.program);
    command.args(["--log", "warn", "gateway", "--policy", policy, "--worker", &it.urls().join(",")]);
    command.args(["--listen", &format!("127.0.0.1:{}", it.port), "--threads", &it.bench.threads.to_string()]);
    command
}

/// sglang-router and smg, which share an ancestor: their launchers have commands.
pub fn launcher(it: &Launch, policy: &str) -> Command {
    it.router(&["launch"], policy)
}

pub fn vllm(it: &Launch, policy: &str) -> Command {
    it.router(&[], policy)
}
