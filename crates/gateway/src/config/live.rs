//! The settings as they are now: read without a lock by every request, replaced whole by a reload.
//!
//! A request that needs several settings takes them from one snapshot, so it never sees half of a reload.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::GatewayConfig;

/// The settings in force.
#[derive(Debug)]
pub(crate) struct Live(ArcSwap<GatewayConfig>);

impl Live {
    /// Begins with these.
    pub(crate) fn new(config: GatewayConfig) -> Self {
        Self(ArcSwap::from_pointee(config))
    }

    /// The settings at this moment.
    pub(crate) fn now(&self) -> Arc<GatewayConfig> {
        self.0.load_full()
    }

    /// Puts others in force; requests under way keep those they took.
    pub(crate) fn replace(&self, config: GatewayConfig) {
        self.0.store(Arc::new(config));
    }
}
