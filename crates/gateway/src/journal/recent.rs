//! The latest requests, for whoever asks why one went where it did.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Entry;

/// A bounded memory of requests.
pub(super) struct Recent {
    most: usize,
    /// Oldest first. Held to push or to look, never longer.
    entries: Mutex<VecDeque<Arc<Entry>>>,
}

impl Recent {
    /// Remembers so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: Mutex::new(VecDeque::new()) }
    }

    pub(super) fn wants_entries(&self) -> bool {
        self.most > 0
    }

    pub(super) fn push(&self, entry: Arc<Entry>) {
        if self.most == 0 {
            return;
        }
        let mut entries = self.entries.lock();
        // Dropped after the lock is given back: an entry may be large.
        let oldest = if entries.len() == self.most { entries.pop_front() } else { None };
        entries.push_back(entry);
        drop((entries, oldest));
    }

    pub(super) fn latest(&self, most: usize, matches: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let entries = self.entries.lock();
        entries.iter().rev().filter(|entry| matches(entry)).take(most).map(Arc::clone).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_the_newest_come_first() {
        let recent = Recent::new(2);
        for id in ["1", "2", "3"] {
            recent.push(Arc::new(Entry::new(HeaderValue::from_static(id), Method::POST, "/")));
        }
        let ids = |most| {
            recent.latest(most, |_| true).iter().map(|entry| entry.id().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(9), ["3", "2"]);
        assert_eq!(ids(1), ["3"]);
        assert_eq!(recent.latest(9, |entry| entry.id() == "2").len(), 1);
    }
}
