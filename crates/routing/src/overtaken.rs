//! Prompts that were read, as their answers say, and that no event has told of yet.
//!
//! An answer and the event of its prompt come by different ways, and either may come first. A prompt whose answer did is still expected
//! to be where it was read: until its event is heard, or for as long as events may reasonably take.

use std::collections::VecDeque;
use std::time::Duration;

use warmroute_kv::BlockHash;

use crate::request::WorkerId;
use crate::time::Time;

/// Engines publish at their next step, and the way takes milliseconds; what has not come by then was lost or never stored.
const PATIENCE: Duration = Duration::from_millis(500);
/// More are not waited for: a worker that answers so many in that time has told of the first.
const MOST: usize = 4_096;

/// All of them, in the order in which they were read.
#[derive(Debug, Default)]
pub(crate) struct Overtaken {
    prompts: VecDeque<Overdue>,
}

/// One prompt.
#[derive(Debug)]
pub(crate) struct Overdue {
    pub(crate) worker: WorkerId,
    pub(crate) blocks: Box<[BlockHash]>,
    /// Whether others count on it.
    pub(crate) promised: bool,
    until: Time,
}

impl Overdue {
    /// A prompt whose answer came now.
    pub(crate) fn new(worker: WorkerId, blocks: &[BlockHash], promised: bool, now: Time) -> Self {
        Self { worker, blocks: blocks.into(), promised, until: now + PATIENCE }
    }
}

impl Overtaken {
    /// One more; returns another that is not waited for any more.
    pub(crate) fn add(&mut self, prompt: Overdue) -> Option<Overdue> {
        self.prompts.push_back(prompt);
        if self.prompts.len() > MOST { self.prompts.pop_front() } else { None }
    }

    /// Those that `worker` has read.
    pub(crate) fn of(&self, worker: WorkerId) -> impl Iterator<Item = &[BlockHash]> {
        self.prompts.iter().filter(move |prompt| prompt.worker == worker).map(|prompt| &*prompt.blocks)
    }

    /// The first whose event did not come in time.
    pub(crate) fn given_up(&mut self, now: Time) -> Option<Overdue> {
        self.prompts.pop_front_if(|first| first.until <= now)
    }

    /// One of `worker` of which `told` says that it need not be waited for.
    pub(crate) fn take(&mut self, worker: WorkerId, told: impl Fn(&[BlockHash]) -> bool) -> Option<Overdue> {
        let is_told = |prompt: &Overdue| prompt.worker == worker && told(&prompt.blocks);
        let place = self.prompts.iter().position(is_told)?;
        self.prompts.remove(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(worker: u32, name: u64, at: Time) -> Overdue {
        Overdue::new(WorkerId(worker), &[BlockHash(name)], true, at)
    }

    #[test]
    fn a_prompt_is_waited_for_until_it_is_told_or_too_late() {
        let mut overtaken = Overtaken::default();
        let late = Time::ZERO + PATIENCE;
        for (worker, name) in [(1, 10), (2, 20), (1, 11)] {
            assert!(overtaken.add(prompt(worker, name, Time::ZERO)).is_none());
        }
        assert!(overtaken.add(prompt(1, 12, Time::from_millis(1))).is_none());
        assert_eq!(overtaken.of(WorkerId(1)).count(), 3);
        let told = overtaken.take(WorkerId(1), |blocks| blocks == [BlockHash(11)]).expect("it is there");
        assert_eq!(*told.blocks, [BlockHash(11)]);
        assert!(overtaken.take(WorkerId(2), |blocks| blocks == [BlockHash(10)]).is_none());
        let given_up: Vec<_> = std::iter::from_fn(|| overtaken.given_up(late)).collect();
        assert_eq!(given_up.iter().map(|prompt| prompt.blocks[0].0).collect::<Vec<_>>(), [10, 20]);
        assert_eq!(overtaken.of(WorkerId(1)).count(), 1, "the last was read later");
    }

    #[test]
    fn no_more_are_waited_for_than_may_be() {
        let mut overtaken = Overtaken::default();
        for name in 0..MOST as u64 {
            assert!(overtaken.add(prompt(1, name, Time::ZERO)).is_none());
        }
        assert_eq!(overtaken.add(prompt(1, 0, Time::ZERO)).expect("it gives way").blocks[0], BlockHash(0));
    }
}
