//! What the router knows of every worker with regard to one request: the candidates that a policy chooses among.

use warmroute_kv::Tokens;

use super::Router;
use crate::fleet::Worker;
use crate::ghost::{FEWEST_MARKS, MOST_MARKS};
use crate::policy::{Candidate, Occasion};
use crate::request::{Request, WorkerId};
use crate::scale::Block;
use crate::time::Time;

/// Prompts of so many times the fleet's caches are remembered.
const GHOST_CACHES: f64 = 4.0;
/// Fallbacks that a decision names: more would only cost time, since attempts are bounded too.
const MOST_FALLBACKS: usize = 8;

impl Router {
    /// Fills in one candidate for each worker that takes requests.
    pub(super) fn survey(&mut self, request: &Request<'_>, candidates: &mut Vec<Candidate>, now: Time) {
        self.index.leading(request.blocks, &mut self.leading);
        let promised = self.promises.furthest(request.blocks);
        let (prompt, block) = (self.scale.prompt(request), self.scale.block(request));
        let fleet_token_s = self.pace.token_s();
        let recent = self.fleet.weight(now).recip();
        candidates.extend(self.fleet.up().map(|(id, worker)| {
            let coming = promised.filter(|(soon, _)| *soon == id).map_or(0, |(_, blocks)| blocks);
            let blocks = worker.slot.map_or(0, |slot| self.leading.depth_in(slot)).max(coming);
            let overlap = block.tokens(blocks).min(prompt);
            let elsewhere = &worker.elsewhere;
            let ahead = worker.ahead(&self.pace, now);
            Candidate {
                worker: id,
                overlap,
                uncached: prompt - overlap,
                in_flight: worker.in_flight + elsewhere.in_flight,
                unread: worker.backlog.prompts() + elsewhere.unread,
                queued: worker.backlog.total() + elsewhere.queued,
                wait_s: self.pace.seconds(ahead) * worker.slower,
                token_s: fleet_token_s * worker.slower,
                recent: worker.recent * recent,
                fill: self.fill(worker, Some(block)),
                active: worker.footing.active() + elsewhere.active,
                context: worker.footing.context() + elsewhere.context,
                capacity: worker.capacity(),
                last_chosen: worker.last_chosen,
            }
        }));
    }

    /// What the decision is about beside the workers; the prompt counts as sent from now on.
    pub(super) fn occasion(&mut self, request: &Request<'_>, now: Time) -> Occasion {
        let block = self.scale.block(request);
        let caches = self.fleet.capacity().as_f64() / block.tokens(1).as_f64().max(1.0);
        // `as` saturates, and the bounds are far below.
        let most = ((GHOST_CACHES * caches) as usize).clamp(FEWEST_MARKS, MOST_MARKS);
        let most = self.room.map_or(most, |room| most.min(room.marks));
        let blocks = self.ghost.recall(request.blocks, most);
        self.occasion_after(request, blocks, now)
    }

    /// The same, if so many leading blocks were sent before.
    pub(super) fn occasion_after(&self, request: &Request<'_>, blocks: usize, now: Time) -> Occasion {
        let block = self.scale.block(request);
        let remembered = block.tokens(blocks).min(self.scale.prompt(request));
        Occasion { now, remembered, stay_s: self.scale.stay_s() }
    }

    /// The share of a worker's cache in use. Blocks it told of are taken to be as large as the request's.
    pub(super) fn fill(&self, worker: &Worker, like: Option<Block>) -> f64 {
        match (&worker.shadow, worker.spec.capacity, like) {
            (Some(shadow), ..) => shadow.fill(),
            (None, Some(capacity), Some(block)) => {
                let held = worker.slot.map_or(0, |slot| self.index.held_in(slot).get());
                // A worker that was given work holds something, even if nothing is heard of it.
                (block.tokens(held).as_f64().max(worker.given) / capacity.as_f64().max(1.0)).min(1.0)
            }
            // A cache of unknown size is taken for full: a copy there may evict something.
            (None, ..) => 1.0,
        }
    }
}

/// Whom to try if the chosen one cannot be reached: least work first, then fewest requests, then whoever was chosen longest ago.
pub(super) fn fallbacks(candidates: &[Candidate], chosen: WorkerId) -> Vec<WorkerId> {
    let most = MOST_FALLBACKS.min(candidates.len() - 1);
    // A handful is kept sorted on the way: most candidates are compared with its last and leave it as it is.
    let mut best = [(u128::MAX, chosen); MOST_FALLBACKS];
    for other in candidates.iter().filter(|other| other.worker != chosen) {
        let work: Tokens = other.queued + other.uncached;
        // Ordered as the three numbers are; of equal ones the first stays before.
        let key =
            u128::from(work.0) << 96 | u128::from(other.in_flight) << 64 | u128::from(other.last_chosen);
        if key < best[MOST_FALLBACKS - 1].0 {
            let place = best.partition_point(|(less, _)| *less <= key);
            best[place..].rotate_right(1);
            best[place] = (key, other.worker);
        }
    }
    best[..most].iter().map(|(_, worker)| *worker).collect()
}
