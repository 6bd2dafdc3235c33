//! Who has been sent a prompt and not read it yet, and so will hold it soon.
//!
//! Events tell of a prompt only when it has been read. Whoever asks with the same beginning in the meantime would find it
//! nowhere and be sent wherever there is least to do: a burst would copy its prefix to every worker. A promise says where the
//! prompt is going to be; it is taken back when the prompt has been read and told of, or is not going to be. Of several workers
//! that were sent the same beginning, the last is remembered.
//!
//! Only marks of a prompt are kept (see [`Ruler`]), a few dozen names for each unread prompt, so that a promise is known
//! to within a quarter of its length. Shadows need none of this: they hold a prompt from its decision on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;

use warmroute_kv::{AlreadyHashed, BlockHash, Ruler};

use crate::partition::partition;
use crate::request::WorkerId;

/// A position is known to within a quarter.
const RULER: Ruler = Ruler { dense: 4 };

/// Marks of unread prompts.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    marks: HashMap<BlockHash, Promise, BuildHasherDefault<AlreadyHashed>>,
}

#[derive(Clone, Copy, Debug)]
struct Promise {
    worker: WorkerId,
    /// Unread prompts with this mark that went there.
    prompts: u32,
}

impl Promises {
    /// The prompt `chain` was sent to `worker`.
    pub(crate) fn make(&mut self, worker: WorkerId, chain: &[BlockHash]) {
        for mark in 0..RULER.marks_within(chain.len()) {
            let promise = self.marks.entry(chain[RULER.position(mark)]);
            let promise = promise.or_insert(Promise { worker, prompts: 0 });
            if promise.worker != worker {
                *promise = Promise { worker, prompts: 0 };
            }
            promise.prompts += 1;
        }
    }

    /// It was read there, or is not going to be.
    pub(crate) fn settle(&mut self, worker: WorkerId, chain: &[BlockHash]) {
        for mark in 0..RULER.marks_within(chain.len()) {
            let Entry::Occupied(mut entry) = self.marks.entry(chain[RULER.position(mark)]) else { continue };
            let promise = entry.get_mut();
            if promise.worker != worker {
                continue;
            }
            promise.prompts -= 1;
            if promise.prompts == 0 {
                entry.remove();
            }
        }
    }

    /// Who will hold the most leading blocks of `chain`, and at least how many.
    pub(crate) fn furthest(&self, chain: &[BlockHash]) -> Option<(WorkerId, usize)> {
        if self.marks.is_empty() {
            return None;
        }
        let promise = |mark: usize| self.marks.get(&chain[RULER.position(mark)]);
        // A mark that is promised was promised together with all before it; another worker's settling may have left a gap,
        // which costs a hit.
        let marks = partition(RULER.marks_within(chain.len()), |mark| promise(mark).is_some());
        let worker = promise(marks.checked_sub(1)?)?.worker;
        Some((worker, RULER.blocks(marks)))
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::text_chain;

    use super::*;
    use crate::chance::Chance;

    fn chain(text: &str) -> Vec<BlockHash> {
        text_chain(BlockHash(0), text.as_bytes(), 1).collect()
    }

    #[test]
    fn a_prompt_under_way_is_found_until_it_was_read() {
        let mut promises = Promises::default();
        let (sent, asked) = (chain(&"a".repeat(100)), chain(&("a".repeat(60) + "b")));
        assert_eq!(promises.furthest(&asked), None);
        promises.make(WorkerId(3), &sent);
        let (worker, blocks) = promises.furthest(&asked).unwrap();
        assert_eq!(worker, WorkerId(3));
        assert!((45..=60).contains(&blocks), "{blocks} of 60");
        assert_eq!(promises.furthest(&chain("b")), None);
        promises.settle(WorkerId(3), &sent);
        assert_eq!(promises.furthest(&asked), None);
    }

    #[test]
    fn the_last_of_several_workers_counts_and_each_prompt_is_settled_by_itself() {
        let mut promises = Promises::default();
        let prompt = chain("abcdefgh");
        for worker in [1, 2, 2] {
            promises.make(WorkerId(worker), &prompt);
        }
        promises.settle(WorkerId(1), &prompt);
        promises.settle(WorkerId(2), &prompt);
        assert_eq!(promises.furthest(&prompt).map(|(worker, _)| worker), Some(WorkerId(2)));
        promises.settle(WorkerId(2), &prompt);
        assert_eq!(promises.furthest(&prompt), None);
    }

    #[test]
    fn nothing_is_left_when_everything_was_settled() {
        let (mut promises, mut chance) = (Promises::default(), Chance::new(5));
        let mut open = Vec::new();
        for _ in 0..2_000 {
            if chance.below(2) == 0 || open.is_empty() {
                let text: String =
                    (0..chance.below(40)).map(|_| if chance.below(9) == 0 { 'b' } else { 'a' }).collect();
                let sent = (WorkerId(chance.below(3) as u32), chain(&text));
                promises.make(sent.0, &sent.1);
                open.push(sent);
            } else {
                let (worker, prompt) = open.swap_remove(chance.below(open.len()));
                promises.settle(worker, &prompt);
            }
        }
        for (worker, prompt) in open {
            promises.settle(worker, &prompt);
        }
        assert!(promises.marks.is_empty(), "{promises:?}");
    }
}
