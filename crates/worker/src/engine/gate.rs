//! Counts requests in flight and bounds them: a request enters with a [`Pass`], and dropping the pass is leaving.
//!
//! The count is a watch channel, so a drain (or a test) can wait for "nobody inside" instead of polling for it.

use std::sync::Arc;

use tokio::sync::watch;

/// The way into one engine.
#[derive(Clone, Debug)]
pub struct Gate {
    inside: Arc<watch::Sender<usize>>,
    limit: usize,
}

/// One request's place inside. Dropping it gives the place back.
#[derive(Debug)]
pub struct Pass {
    inside: Arc<watch::Sender<usize>>,
}

impl Gate {
    /// A gate that lets at most `limit` requests in at a time.
    pub fn new(limit: usize) -> Self {
        Self { inside: Arc::new(watch::Sender::new(0)), limit }
    }

    /// A place inside, or `None` when the engine has all it may have.
    pub fn enter(&self) -> Option<Pass> {
        let entered = self.inside.send_if_modified(|inside| {
            let room = *inside < self.limit;
            *inside += usize::from(room);
            room
        });
        entered.then(|| Pass { inside: Arc::clone(&self.inside) })
    }

    /// Requests inside now.
    pub fn inside(&self) -> usize {
        *self.inside.borrow()
    }

    /// Returns once nobody is inside. Dropping the future does nothing.
    pub async fn empty(&self) {
        let mut inside = self.inside.subscribe();
        inside.wait_for(|inside| *inside == 0).await.expect("the sender lives in self");
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.inside.send_modify(|inside| *inside -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_gate_refuses_until_somebody_leaves() {
        let gate = Gate::new(2);
        let (one, two) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert!(gate.enter().is_none());
        drop(one);
        let three = gate.enter();
        assert_eq!((three.is_some(), gate.inside()), (true, 2));
        drop((two, three));
        gate.empty().await;
    }
}
