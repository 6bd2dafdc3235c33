//! For the tests of rivals: a policy, a few hand-made workers, and a question.

use warmroute_kv::{BlockHash, Tokens, text_chain};
use warmroute_routing::policy::{Candidate, Candidates, Occasion, Policy, PolicyConfig};
use warmroute_routing::{Chance, Reason, Request, Time, WorkerId};

use super::RIVALS;

/// An idle worker that holds nothing; tests change what matters by struct update.
pub(super) fn worker(id: u32) -> Candidate {
    Candidate {
        worker: WorkerId(id),
        overlap: Tokens(0),
        uncached: Tokens(0),
        in_flight: 0,
        queued: Tokens(0),
        wait_s: 0.0,
        token_s: 1e-4,
        recent: 0.0,
        fill: 0.0,
        active: Tokens(0),
        unread: 0,
        context: Tokens(0),
        capacity: Some(Tokens(100_000)),
        last_chosen: 0,
        place: id,
    }
}

/// The block names of a prompt; prompts of different names share nothing.
pub(super) fn prompt(name: u64, blocks: usize) -> Vec<BlockHash> {
    text_chain(BlockHash(name), &vec![0; blocks], 1).collect()
}

/// A prompt that begins with `beginning` and goes on in its own way.
pub(super) fn continued(beginning: &[BlockHash], name: u64, blocks: usize) -> Vec<BlockHash> {
    beginning.iter().copied().chain(prompt(name, blocks)).collect()
}

/// A rival about to be asked.
pub(super) struct Scene {
    policy: Box<dyn Policy>,
    chance: Chance,
    now: Time,
}

impl Scene {
    /// The rival as written, without `rival:`.
    pub(super) fn of(text: &str) -> Self {
        let policy = PolicyConfig::parse(text, RIVALS).unwrap().build();
        Self { policy, chance: Chance::new(1), now: Time::ZERO }
    }

    /// From now on it is so many seconds after the start.
    pub(super) fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = Time::from_millis(seconds * 1_000);
        self
    }

    /// Whom it chooses for a prompt of 16-token blocks, and why. What a worker does not hold it has to compute.
    pub(super) fn ask(&mut self, blocks: &[BlockHash], workers: &[Candidate]) -> (u32, Reason) {
        let request = Request::new(BlockHash(0), blocks);
        let prompt = Tokens::of(request.prompt);
        let list: Vec<_> =
            workers.iter().map(|one| Candidate { uncached: prompt - one.overlap, ..*one }).collect();
        let occasion = Occasion { now: self.now, ..Occasion::default() };
        let among = Candidates::new(&list, occasion).unwrap();
        let choice = self.policy.choose(&request, among, &mut self.chance);
        (choice.worker.0, choice.reason)
    }

    /// How often each of the workers is chosen when the same is asked `times` times.
    pub(super) fn poll(&mut self, times: usize, blocks: &[BlockHash], workers: &[Candidate]) -> Vec<usize> {
        let mut counts = vec![0; workers.len()];
        for _ in 0..times {
            counts[self.ask(blocks, workers).0 as usize] += 1;
        }
        counts
    }
}
