//! The cache's changes on their way to whoever listens: numbered, bounded, and free of charge while nobody does.

use std::sync::Arc;

use tokio::sync::broadcast;
use warmroute_kv::KvEvents;

use crate::publish::{Outlet, Told};

/// Batches of cache events kept for a listener that lags; what is older is lost, and the listener can tell by the number.
const KV_BATCHES_KEPT: usize = 1024;

/// The cache changes of one step, numbered from 0 without gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct KvBatch {
    /// Its number; a listener that sees a gap has missed something.
    pub sequence: u64,
    /// What happened, in order.
    pub events: KvEvents,
}

/// Numbers the batches of one cache and sends them out.
#[derive(Debug)]
pub(crate) struct KvFeed {
    next: u64,
    listeners: broadcast::Sender<Arc<KvBatch>>,
    /// For those outside this process.
    outlet: Option<Outlet>,
}

impl KvFeed {
    /// A feed without listeners in this process.
    pub(crate) fn new(outlet: Option<Outlet>) -> Self {
        Self { next: 0, listeners: broadcast::Sender::new(KV_BATCHES_KEPT), outlet }
    }

    /// Whether blocks that come in have to be told with their tokens.
    pub(crate) fn is_published(&self) -> bool {
        self.outlet.is_some()
    }

    /// The number of the next batch.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Where listeners subscribe.
    pub(crate) fn listeners(&self) -> broadcast::Sender<Arc<KvBatch>> {
        self.listeners.clone()
    }

    /// Tells everybody, and leaves `events` empty. To be called before anything else happens to the cache.
    pub(crate) fn publish(&mut self, events: &mut KvEvents, told: &impl Told) {
        if events.is_empty() {
            return;
        }
        if let Some(outlet) = &self.outlet {
            outlet.tell(events, told);
        }
        if self.listeners.receiver_count() > 0 {
            let batch = KvBatch { sequence: self.next, events: std::mem::take(events) };
            // They may all have left meanwhile: the number still counts.
            let _ = self.listeners.send(Arc::new(batch));
        }
        self.next += 1;
        events.clear();
    }
}
