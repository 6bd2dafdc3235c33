//! Who owns the tasks: one tracker, handed to hyper as its executor, so that nothing runs which a shutdown does not wait for.

use std::future::Future;

use tokio_util::task::TaskTracker;

/// Spawns on a tracker; hyper calls it for HTTP/2 streams and for connections to workers.
#[derive(Clone, Debug)]
pub(crate) struct Owned(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Owned
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
