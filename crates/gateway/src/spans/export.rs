//! Sends traces to the collector, some at a time. One that cannot be reached costs their loss and a line in the log.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Told, encode};
use crate::config::Collector;
use crate::upstream::{Outbound, Upstream};

/// Requests told of at once; about a megabyte.
const MOST_AT_ONCE: usize = 512;
/// The first of them waits so long for others.
const GATHER: Duration = Duration::from_secs(1);
/// A collector may take so long to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same while the gateway stops.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// What sends them.
pub(crate) struct Exporter {
    pub(crate) told: Receiver<Told>,
    pub(crate) collector: Collector,
    pub(crate) upstream: Upstream,
}

impl Exporter {
    /// Sends what comes until told to stop, and then what is left.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut reached = true;
        let mut batch = Vec::new();
        while let Some(()) = stop.run_until_cancelled(self.gather(&mut batch)).await {
            let sent = self.send(&batch, PATIENCE).await;
            if let (true, Err(why)) = (reached, &sent) {
                tracing::warn!(collector = %self.collector, %why, "traces are lost: the collector does not take them");
            }
            reached = sent.is_ok();
            batch.clear();
        }
        while let Ok(told) = self.told.try_recv() {
            batch.push(told);
        }
        if !batch.is_empty() {
            let _ = self.send(&batch, LAST_PATIENCE).await;
        }
    }

    /// The next that come, at least one. Dropping the future loses none: they are in `batch`.
    async fn gather(&mut self, batch: &mut Vec<Told>) {
        if self.told.recv_many(batch, MOST_AT_ONCE).await == 0 {
            return std::future::pending().await;
        }
        sleep(GATHER).await;
        while batch.len() < MOST_AT_ONCE
            && let Ok(told) = self.told.try_recv()
        {
            batch.push(told);
        }
    }

    async fn send(&self, batch: &[Told], patience: Duration) -> Result<(), String> {
        let (path, body) = (&self.collector.path, Bytes::from(encode::encode(batch)));
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let to = &self.collector.url;
        let outbound = Outbound {
            method: Method::POST,
            to,
            path,
            headers: &headers,
            body: &body,
            fresh: false,
            departure: None,
        };
        let asked = async {
            let answer = self.upstream.request(&outbound).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            answer.into_body().collect().await.map_err(|error| error.to_string())?;
            if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
        };
        timeout(patience, asked).await.unwrap_or_else(|_| Err("it does not answer".to_owned()))
    }
}
