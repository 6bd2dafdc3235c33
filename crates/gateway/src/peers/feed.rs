//! What one other gateway is told: a stream of lines, each made when the connection can take it.
//!
//! So there is no queue to grow: a peer that reads slowly gets fewer lines, with the loads as they are by then, and loses prompts that the
//! outbox keeps no longer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use warmroute_routing::Elsewhere;

use super::frame::{BLOCKS_AT_ONCE, Frame, Hello, Load, Sent, VERSION};
use super::naming::naming;
use super::outbox::{Reader, Word};
use crate::front::Gateway;

/// How often something is told, if there is anything to tell.
const EVERY: Duration = Duration::from_millis(50);
/// How often it is told that there is nothing.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// What one peer is told, and has been.
pub(crate) struct Feed {
    gateway: Arc<Gateway>,
    reader: Reader,
    told: HashMap<Arc<str>, Elsewhere>,
    greeted: bool,
    last: Instant,
    every: Interval,
}

impl Feed {
    /// Begins with who speaks.
    pub(crate) fn new(gateway: &Arc<Gateway>) -> Self {
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            gateway: Arc::clone(gateway),
            reader: gateway.core.outbox.read(),
            told: HashMap::new(),
            greeted: false,
            last: Instant::now(),
            every,
        }
    }

    /// The next line, when there is something to say; `None` once the gateway drains and has nothing under way. Dropping the future loses
    /// nothing.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.every.tick().await;
            let draining = self.gateway.draining.is_cancelled();
            if draining && self.gateway.core.in_flight() == 0 {
                return None;
            }
            let frame = self.frame(draining);
            if !frame.is_empty() || self.last.elapsed() >= SIGN_OF_LIFE {
                self.last = Instant::now();
                return Some(frame.line());
            }
        }
    }

    fn frame(&mut self, draining: bool) -> Frame {
        let hello = (!std::mem::replace(&mut self.greeted, true)).then(|| Hello {
            version: VERSION,
            gateway: self.gateway.peers.id(),
            naming: naming(&self.gateway.config.now()),
        });
        let mut frame = Frame { hello, draining, loads: self.loads(), ..Frame::default() };
        self.became(&mut frame);
        frame
    }

    /// What became of requests since the last line.
    fn became(&mut self, frame: &mut Frame) {
        let (words, lost) = self.reader.take(BLOCKS_AT_ONCE);
        frame.lost = lost;
        let workers = self.gateway.fleet.workers();
        for (id, word) in words {
            match word {
                Word::Sent(to, prompt) => {
                    let Ok(place) = workers.binary_search_by_key(&to, |worker| worker.id) else { continue };
                    frame.sent.push(Sent::new(id.0, &workers[place].name, &prompt));
                }
                Word::Read => frame.read.push(id.0),
                Word::Ended(usage) => {
                    let (prompt, answer) = usage.map_or((0, 0), |usage| (usage.prompt.0, usage.output.0));
                    frame.ended.push((id.0, prompt, answer));
                }
            }
        }
    }

    /// What has changed since the last line.
    fn loads(&mut self) -> Vec<Load> {
        let mut now: HashMap<Arc<str>, Elsewhere> = HashMap::new();
        let workers = self.gateway.fleet.workers();
        for view in self.gateway.core.workers().into_iter().filter(|view| view.in_flight > 0) {
            let Ok(place) = workers.binary_search_by_key(&view.id, |worker| worker.id) else { continue };
            // One that leaves may have a successor of its name.
            let load = now.entry(Arc::clone(&workers[place].name)).or_default();
            let warmroute_routing::WorkerView { in_flight, unread, queued, active, context, .. } = view;
            *load = [*load, Elsewhere { in_flight, unread, queued, active, context }].into_iter().sum();
        }
        let gone = self.told.keys().filter(|name| !now.contains_key(*name));
        let gone = gone.map(|name| Load::new(name, Elsewhere::default()));
        let changed = now.iter().filter(|(name, load)| self.told.get(*name) != Some(*load));
        let mut loads: Vec<Load> = changed.map(|(name, load)| Load::new(name, *load)).chain(gone).collect();
        loads.sort_unstable_by(|one, other| one.worker.cmp(&other.worker));
        self.told = now;
        loads
    }
}
