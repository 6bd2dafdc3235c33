//! What the router knows of every worker with regard to one request: the candidates that a policy chooses among.

use warmroute_kv::Tokens;

use super::Router;
use crate::fleet::Worker;
use crate::ghost::{FEWEST_MARKS, MOST_MARKS};
use crate::policy::{Candidate, Occasion};
use crate::request::{Request, WorkerId};
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
        let prompt = self.scale.prompt(request);
        let fleet_token_s = self.pace.token_s();
        candidates.extend(self.fleet.up().map(|(id, worker)| {
            let coming = promised.filter(|(soon, _)| *soon == id).map_or(0, |(_, blocks)| blocks);
            let blocks = self.leading.depth_of(id).max(coming);
            let overlap = self.scale.blocks(request, blocks).min(prompt);
            let elsewhere = &worker.elsewhere;
            let slowness = worker.slowness.ratio();
            let ahead = worker.ahead(&self.pace, now);
            let token_s = fleet_token_s * slowness;
            Candidate {
                worker: id,
                overlap,
                uncached: prompt - overlap,
                in_flight: worker.in_flight + elsewhere.in_flight,
                unread: worker.backlog.prompts() + elsewhere.unread,
                queued: worker.backlog.total() + elsewhere.queued,
                wait_s: self.pace.seconds(ahead) * slowness,
                token_s,
                recent: worker.recent.at(now),
                fill: self.fill(id, worker, Some(request)),
                active: worker.footing.active() + elsewhere.active,
                context: worker.footing.context() + elsewhere.context,
                capacity: worker.capacity(),
                last_chosen: worker.last_chosen,
            }
        }));
    }

    /// What the decision is about beside the workers; the prompt counts as sent from now on.
    pub(super) fn occasion(&mut self, request: &Request<'_>, now: Time) -> Occasion {
        let block_tokens = self.scale.blocks(request, 1).as_f64().max(1.0);
        let caches = self.fleet.capacity().as_f64() / block_tokens;
        // `as` saturates, and the bounds are far below.
        let most = ((GHOST_CACHES * caches) as usize).clamp(FEWEST_MARKS, MOST_MARKS);
        let blocks = self.ghost.recall(request.blocks, most);
        let remembered = self.scale.blocks(request, blocks).min(self.scale.prompt(request));
        Occasion { now, remembered, stay_s: self.scale.stay_s() }
    }

    /// The share of a worker's cache in use. Blocks it told of are taken to be as large as the request's.
    pub(super) fn fill(&self, id: WorkerId, worker: &Worker, like: Option<&Request<'_>>) -> f64 {
        match (&worker.shadow, worker.spec.capacity, like) {
            (Some(shadow), ..) => shadow.fill(),
            (None, Some(capacity), Some(request)) => {
                let held = self.scale.blocks(request, self.index.held_by(id).get());
                // A worker that was given work holds something, even if nothing is heard of it.
                (held.as_f64().max(worker.given) / capacity.as_f64().max(1.0)).min(1.0)
            }
            // A cache of unknown size is taken for full: a copy there may evict something.
            (None, ..) => 1.0,
        }
    }
}

/// Whom to try if the chosen one cannot be reached: least work first, then fewest requests, then whoever was chosen longest ago.
pub(super) fn fallbacks(candidates: &mut Vec<Candidate>, chosen: WorkerId) -> Vec<WorkerId> {
    candidates.retain(|candidate| candidate.worker != chosen);
    let key = |other: &Candidate| {
        let work: Tokens = other.queued + other.uncached;
        (work, other.in_flight, other.last_chosen, other.worker)
    };
    if candidates.len() > MOST_FALLBACKS {
        candidates.select_nth_unstable_by_key(MOST_FALLBACKS - 1, key);
        candidates.truncate(MOST_FALLBACKS);
    }
    candidates.sort_unstable_by_key(key);
    candidates.iter().map(|candidate| candidate.worker).collect()
}
