//! What the gateway shows of itself: metrics now, the dashboard later.

pub(crate) mod metrics;
