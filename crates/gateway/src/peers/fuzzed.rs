//! A feed as bytes in pieces, read as a gateway reads it: what a fuzz target can reach.

use std::collections::HashMap;

use warmroute_routing::{Event, WorkerId};

use super::frame::{Frame, Lines};
use super::words;

/// What one line tells.
#[derive(Debug, PartialEq)]
pub struct Told(Frame);

impl Told {
    /// What the router is told of it, where workers have these names.
    pub fn events(&self, workers: &HashMap<&str, WorkerId>) -> Vec<Event> {
        let loads = self.0.loads.iter().filter_map(|told| {
            Some(Event::Elsewhere { worker: *workers.get(&*told.worker)?, load: told.load() })
        });
        loads.chain(words(1, &self.0, workers)).collect()
    }
}

/// What is told until the feed ends or is refused.
pub fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Told> {
    let (mut lines, mut told) = (Lines::default(), Vec::new());
    for piece in pieces {
        lines.push(piece);
        loop {
            match lines.next() {
                Ok(Some(frame)) => told.push(Told(frame)),
                Ok(None) => break,
                Err(_) => return told,
            }
        }
    }
    told
}
