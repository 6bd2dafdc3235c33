//! Tells when files change.
//!
//! What is watched is the directory of each file, since editors and Kubernetes replace a file instead of writing into it. A notice says
//! only that something may have changed: whoever gets it reads the file and compares. Where the system gives no notices, as on network
//! file systems, a slow look now and then takes their place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Writers seldom write everything at once; what they have done by then is taken for whole.
const SETTLE: Duration = Duration::from_millis(100);
/// How long a change stays unseen where the system gives no notice.
const LOOK: Duration = Duration::from_secs(10);

/// Watches some files; dropping it ends that.
pub(crate) struct Watch {
    changed: Arc<Notify>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Begins to watch.
    pub(crate) fn new(files: &[PathBuf]) -> Self {
        let changed = Arc::new(Notify::new());
        let watcher = watch(files, Arc::clone(&changed)).inspect_err(
            |error| tracing::warn!(%error, "files cannot be watched; they are looked at every {LOOK:?}"),
        );
        Self { changed, _watcher: watcher.ok() }
    }

    /// Waits until something may have changed since the last call ended. Dropping the future loses no change.
    pub(crate) async fn changed(&self) {
        if timeout(LOOK, self.changed.notified()).await.is_ok() {
            sleep(SETTLE).await;
        }
    }
}

fn watch(files: &[PathBuf], changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is an event too, and must not make us read it again.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.notify_one();
        }
    })?;
    for file in files {
        let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
        watcher.watch(directory.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}
