//! Engines' publishers, with the library that the engines have (libzmq) and without a bound: what the service is behind with waits here.

use std::time::Duration;

use anyhow::{Context as _, anyhow};

use crate::ingestion::Message;

/// For a subscription to come; a service connects at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// One socket for each.
pub struct Publishers {
    sockets: Vec<(zmq::Socket, u64)>,
}

impl Publishers {
    pub fn bind(publishers: u32) -> anyhow::Result<Self> {
        let context = zmq::Context::new();
        let socket = |_| {
            let socket = context.socket(zmq::XPUB)?;
            socket.set_sndhwm(0)?;
            socket.set_linger(0)?;
            socket.set_rcvtimeo(PATIENCE.as_millis() as i32)?;
            socket.bind("tcp://127.0.0.1:*")?;
            Ok((socket, 0))
        };
        Ok(Self { sockets: (0..publishers).map(socket).collect::<anyhow::Result<_>>()? })
    }

    /// By publisher.
    pub fn endpoints(&self) -> anyhow::Result<Vec<String>> {
        let endpoint = |(socket, _): &(zmq::Socket, u64)| {
            socket.get_last_endpoint()?.map_err(|_| anyhow!("an endpoint is no text"))
        };
        self.sockets.iter().map(endpoint).collect()
    }

    /// Waits until somebody listens to each.
    pub fn heard(&self) -> anyhow::Result<()> {
        for (socket, _) in &self.sockets {
            socket.recv_bytes(0).context("nobody subscribed in time")?;
        }
        Ok(())
    }

    /// Topic, number and batch, as vLLM sends them.
    pub fn send(&mut self, messages: &[Message]) -> anyhow::Result<()> {
        for Message { publisher, payload } in messages {
            let (socket, number) = &mut self.sockets[*publisher as usize];
            socket.send_multipart([&b""[..], &number.to_be_bytes(), payload], 0)?;
            *number += 1;
        }
        Ok(())
    }
}
