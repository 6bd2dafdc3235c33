//! SIGTERM and SIGINT: the first drains, the second ends everything at once.

use std::future::Future;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals, caught from the moment of [`Signals::catch`] on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from the system, which would kill the process.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let caught = |kind| signal(kind).context("signals cannot be caught");
        Ok(Self { terminate: caught(SignalKind::terminate())?, interrupt: caught(SignalKind::interrupt())? })
    }

    /// Waits for the next of either. Dropping the future loses none.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Starts a service, runs it until a signal comes, and stops it; a second signal drops `stop` half-way.
pub(crate) async fn serve<T>(
    start: impl Future<Output = anyhow::Result<T>>,
    stop: impl AsyncFnOnce(T),
) -> anyhow::Result<()> {
    serve_with(start, async |_: &T| Ok(()), stop).await
}

/// Starts a service, runs it with `meanwhile` until a signal comes, and stops it; a second signal drops `stop` half-way.
///
/// The signals are caught before the start, which may take long: a signal then simply ends the process in good order.
pub(crate) async fn serve_with<T>(
    start: impl Future<Output = anyhow::Result<T>>,
    meanwhile: impl AsyncFnOnce(&T) -> anyhow::Result<()>,
    stop: impl AsyncFnOnce(T),
) -> anyhow::Result<()> {
    let mut signals = Signals::catch()?;
    let running = tokio::select! {
        running = start => running?,
        () = signals.next() => return Ok(()),
    };
    tokio::select! {
        () = signals.next() => {}
        failed = async {
            meanwhile(&running).await?;
            std::future::pending().await
        } => return failed,
    }
    tracing::info!("draining; a second signal ends everything at once");
    tokio::select! {
        () = stop(running) => Ok(()),
        () = signals.next() => anyhow::bail!("ended by a second signal; requests that were running were cut"),
    }
}
