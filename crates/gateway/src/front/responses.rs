//! Which worker made which response: an engine keeps responses to itself, so what goes on from one must go where it is.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use warmroute_kv::BlockHash;
use warmroute_routing::WorkerId;

/// Responses that are remembered, the latest ones: at one a second, those of a day. 4 MB at most.
const MOST_RESPONSES: usize = 86_400;

/// The makers of the latest responses. Ids are kept as hashes: if two ever were the same, one response would not be found, as if it had
/// been forgotten.
#[derive(Default)]
pub(crate) struct Responses(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    makers: HashMap<u64, WorkerId>,
    /// Oldest first.
    order: VecDeque<u64>,
}

impl Responses {
    /// `worker` has made the response of this id.
    pub(super) fn remember(&self, id: &str, worker: WorkerId) {
        let name = name(id);
        let mut kept = self.0.lock();
        if kept.makers.insert(name, worker).is_some() {
            return;
        }
        kept.order.push_back(name);
        if kept.order.len() > MOST_RESPONSES
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.makers.remove(&oldest);
        }
    }

    /// Who made it, if that is still known.
    pub(super) fn maker(&self, id: &str) -> Option<WorkerId> {
        self.0.lock().makers.get(&name(id)).copied()
    }
}

fn name(id: &str) -> u64 {
    BlockHash(0).next_text(id.as_bytes()).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_the_oldest_forgotten() {
        let responses = Responses::default();
        for number in 0..=MOST_RESPONSES {
            responses.remember(&format!("resp_{number}"), WorkerId(number as u32));
            responses.remember("resp_0", WorkerId(7));
        }
        assert_eq!(responses.maker("resp_1"), None, "one too many came");
        assert_eq!(responses.maker("resp_2"), Some(WorkerId(2)));
        let kept = responses.0.lock();
        assert_eq!((kept.order.len(), kept.makers.len()), (MOST_RESPONSES, MOST_RESPONSES));
    }
}
