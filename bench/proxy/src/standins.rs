//! The fleet behind every proxy: emulated workers of Warmroute's own binary, with a real block pool and no tensors.

use std::io;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::connection::Connection;
use crate::place::Bench;
use crate::process::Process;

/// Running stand-ins.
#[derive(Debug)]
pub struct Fleet {
    /// Where they listen on loopback.
    pub ports: Vec<u16>,
    workers: Vec<Process>,
}

impl Fleet {
    /// Starts so many, all with the same flags, and waits until they answer.
    pub async fn start(bench: &Bench, count: usize, flags: &[&str]) -> anyhow::Result<Self> {
        let ports = free_ports(count)?;
        let start = |port: &u16| {
            let mut command = Command::new(&bench.warmroute);
            command.args([
                "--log",
                "warn",
                "worker",
                "--engine",
                "emulated",
                "--listen",
                &format!("127.0.0.1:{port}"),
            ]);
            command.args(flags);
            Process::start(&format!("worker-{port}"), command, &bench.scratch)
        };
        let mut workers = ports.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        for (port, worker) in ports.iter().zip(&mut workers) {
            until_open(*port, worker).await?;
        }
        Ok(Self { ports, workers })
    }

    /// An error if one of them has gone: the figures would be about something else.
    pub fn must_run(&mut self) -> anyhow::Result<()> {
        self.workers.iter_mut().try_for_each(Process::must_run)
    }
}

/// Ports that nobody listens on now. Somebody else may take one before we do; then the start fails and is tried again by hand.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Waits until a program takes connections.
async fn until_open(port: u16, process: &mut Process) -> anyhow::Result<()> {
    let patience = Instant::now() + Duration::from_secs(20);
    while Connection::open(port).await.is_err() {
        process.must_run()?;
        if Instant::now() > patience {
            bail!("nobody listens on port {port} after 20 s; hint: the logs are in the scratch directory");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
