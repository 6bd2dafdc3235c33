//! What the router knows of every worker with regard to one request: the candidates that a policy chooses among.
//!
//! Candidates stay from one decision to the next. What a worker's account says of it whatever the prompt and the clock is
//! written when the account has changed, which is a few accounts between two decisions; each decision writes the rest, for
//! all workers.

use warmroute_kv::Tokens;

use super::Router;
use crate::fleet::{Front, State, Work, Worker};
use crate::ghost::{FEWEST_MARKS, MOST_MARKS};
use crate::index::Leading;
use crate::policy::{Candidate, Occasion, Totals, place};
use crate::request::{Request, WorkerId};
use crate::scale::Block;
use crate::time::Time;

/// Prompts of so many times the fleet's caches are remembered.
const GHOST_CACHES: f64 = 4.0;

/// The candidates, and what is kept to complete them.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// One for each worker that takes requests, in order of their ids.
    pub(super) candidates: Vec<Candidate>,
    /// Those of them that may take the request, where not all may.
    pub(super) narrowed: Vec<Candidate>,
    /// What those that may take the request come to together.
    pub(super) totals: Totals,
    /// For each candidate.
    standings: Vec<Standing>,
    /// What caches that tell are measured in.
    block: Option<Block>,
    /// What each worker holds of the prompt; kept for its memory.
    pub(super) leading: Leading,
    /// The same in tokens: nothing, for whoever has no slot, and then by slot.
    held: Vec<Tokens>,
}

/// What a candidate's prompt- and clock-dependent parts are made of.
#[derive(Debug)]
struct Standing {
    /// Where it says how much the worker holds of the prompt.
    held: usize,
    slower: f64,
    /// In the unit of the fleet's decay.
    recent: f64,
    front: Front,
    /// What a first token waits for beside this gateway's unread prompts.
    ahead: Work,
}

impl Survey {
    /// Where `worker` is among the candidates.
    pub(super) fn place(&self, worker: WorkerId) -> Option<usize> {
        place(&self.candidates, worker)
    }
}

impl Router {
    /// Has one candidate for each worker that takes requests.
    pub(super) fn survey(&mut self, request: &Request<'_>, now: Time) {
        self.give_up(now);
        self.index.leading(request.blocks, &mut self.survey.leading);
        let recent = self.fleet.weight(now).recip();
        let (prompt, block) = (self.scale.prompt(request), self.scale.block(request));
        self.renew(block);
        let pace = self.pace;
        let fleet_token_s = pace.token_s();
        let mut totals = Totals::NONE;
        let Survey { candidates, standings, leading, held, .. } = &mut self.survey;
        held.clear();
        held.resize(1 + leading.slots(), Tokens::ZERO);
        for (depth, slots) in leading.depths() {
            let tokens = block.tokens(depth).min(prompt);
            slots.for_each(|slot| held[1 + slot.index()] = tokens);
        }
        for (candidate, standing) in candidates.iter_mut().zip(standings) {
            let overlap = held[standing.held];
            candidate.overlap = overlap;
            candidate.uncached = prompt - overlap;
            candidate.token_s = fleet_token_s * standing.slower;
            candidate.recent = standing.recent * recent;
            let left = standing.front.left(now).unwrap_or_else(|| {
                let account = self.fleet.get(candidate.worker).expect("a candidate has an account");
                account.backlog.left(now)
            });
            candidate.wait_s = Worker::wait_s(&pace, standing.slower, (left, standing.ahead));
            totals.add(candidate);
        }
        self.survey.totals = totals;
        self.promise(request, block, prompt);
        self.survey.narrow(request);
        self.stand_in(request, block, prompt);
    }

    /// Counts what a worker is going to hold as if it held it already.
    fn promise(&mut self, request: &Request<'_>, block: Block, prompt: Tokens) {
        let Some((worker, blocks)) = self.promises.furthest(request.blocks) else { return };
        let Some(place) = self.survey.place(worker) else { return };
        let candidate = &mut self.survey.candidates[place];
        let before = candidate.overlap;
        candidate.overlap = block.tokens(blocks).min(prompt).max(before);
        candidate.uncached = prompt - candidate.overlap;
        self.survey.totals.most = self.survey.totals.most.max(candidate.overlap);
        if self.survey.totals.common == before {
            let overlaps = self.survey.candidates.iter().map(|candidate| candidate.overlap);
            self.survey.totals.common = overlaps.min().unwrap_or(before);
        }
    }

    /// Brings what candidates say whatever the prompt up to date.
    fn renew(&mut self, block: Block) {
        let other_block = self.survey.block.replace(block) != Some(block);
        if self.fleet.changes.take_regrouped() {
            self.survey.candidates.clear();
            self.survey.standings.clear();
            (0..self.fleet.len()).for_each(|place| self.fleet.recount(place));
            for (id, worker) in self.fleet.up() {
                self.survey.candidates.push(self.standing_candidate(id, worker, block));
                self.survey.standings.push(Standing::of(worker));
            }
            return;
        }
        let mut changes = std::mem::take(&mut self.fleet.changes);
        changes.take_written(|place| self.renew_one(place, block));
        self.fleet.changes = changes;
        if other_block {
            self.refill(block);
        }
    }

    fn renew_one(&mut self, place: usize, block: Block) {
        self.fleet.recount(place);
        let Some((id, worker)) = self.fleet.nth(place).filter(|(_, worker)| worker.state == State::Up) else {
            return;
        };
        let Some(place) = self.survey.place(id) else { return };
        self.survey.candidates[place] = self.standing_candidate(id, worker, block);
        self.survey.standings[place] = Standing::of(worker);
    }

    /// Measures the caches that tell of blocks in blocks of another size.
    fn refill(&mut self, block: Block) {
        for place in 0..self.survey.candidates.len() {
            let worker = self.fleet.get(self.survey.candidates[place].worker);
            if let Some(worker) = worker.filter(|worker| worker.shadow.is_none()) {
                self.survey.candidates[place].fill = self.fill(worker, Some(block));
            }
        }
    }

    /// A candidate as far as its account goes.
    pub(super) fn standing_candidate(&self, id: WorkerId, worker: &Worker, block: Block) -> Candidate {
        let elsewhere = &worker.elsewhere;
        Candidate {
            in_flight: worker.in_flight + elsewhere.in_flight,
            unread: worker.backlog.prompts() + elsewhere.unread,
            queued: worker.backlog.total() + elsewhere.queued,
            fill: self.fill(worker, Some(block)),
            active: worker.footing.active() + elsewhere.active,
            context: worker.footing.context() + elsewhere.context,
            capacity: worker.capacity(),
            last_chosen: worker.last_chosen,
            place: worker.place,
            ..Candidate::idle(id)
        }
    }

    /// How many marks the ghost keeps for a fleet with caches of this size in such blocks.
    pub(super) fn most_marks(&self, block: Block) -> usize {
        let caches = self.fleet.capacity().as_f64() / block.shortest().max(1.0);
        // `as` saturates, and the bounds are far below.
        let most = ((GHOST_CACHES * caches) as usize).clamp(FEWEST_MARKS, MOST_MARKS);
        self.room.map_or(most, |room| most.min(room.marks))
    }

    /// What the decision is about beside the workers, if so many leading blocks were sent before.
    pub(super) fn occasion_after(&self, request: &Request<'_>, blocks: usize, now: Time) -> Occasion {
        let block = self.scale.block(request);
        let remembered = block.tokens(blocks).min(self.scale.prompt(request));
        let own = self.bookings.len();
        Occasion { now, remembered, stay_s: self.scale.stay_s(), part: self.part, own }
    }

    /// The share of a worker's cache in use. Blocks it told of are taken to be as large as the request's.
    pub(super) fn fill(&self, worker: &Worker, like: Option<Block>) -> f64 {
        match (&worker.shadow, worker.spec.capacity, like) {
            (Some(shadow), ..) => shadow.fill(),
            (None, Some(capacity), Some(block)) => {
                let held = worker.slot.map_or(0, |slot| self.index.held_in(slot).get());
                // A worker that was given work holds something, even if nothing is heard of it.
                ((held as f64 * block.shortest()).max(worker.given) / capacity.as_f64().max(1.0)).min(1.0)
            }
            // A cache of unknown size is taken for full: a copy there may evict something.
            (None, ..) => 1.0,
        }
    }
}

impl Standing {
    fn of(worker: &Worker) -> Self {
        Self {
            held: worker.slot.map_or(0, |slot| 1 + slot.index()),
            slower: worker.slower,
            recent: worker.recent,
            front: worker.backlog.front(),
            ahead: worker.ahead_of_unread(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use warmroute_kv::{BlockHash, KvEvent};

    use super::*;
    use crate::{
        BookingId, Chance, Distant, Elsewhere, Event, Prompt, Publishes, Settings, Unit, Usage, WorkerSpec,
    };

    const ROOT: BlockHash = BlockHash(0);

    /// The candidates made from the accounts alone, with nothing kept from an earlier decision.
    fn afresh(router: &mut Router, request: &Request<'_>, now: Time) -> Vec<Candidate> {
        let recent = router.fleet.weight(now).recip();
        let promised = router.promises.furthest(request.blocks);
        let (prompt, block) = (router.scale.prompt(request), router.scale.block(request));
        let candidate = |(id, worker): (WorkerId, &Worker)| {
            let coming = promised.filter(|(soon, _)| *soon == id).map_or(0, |(_, blocks)| blocks);
            let blocks = router.leading_blocks(id, request.blocks).max(coming);
            let overlap = block.tokens(blocks).min(prompt);
            Candidate {
                overlap,
                uncached: prompt - overlap,
                wait_s: Worker::wait_s(
                    &router.pace,
                    worker.slower,
                    (worker.backlog.left(now), worker.ahead_of_unread()),
                ),
                token_s: router.pace.token_s() * worker.slower,
                recent: worker.recent * recent,
                ..router.standing_candidate(id, worker, block)
            }
        };
        router.fleet.up().map(candidate).collect()
    }

    /// Something that may happen to a fleet of four.
    fn anything(chance: &mut Chance, blocks: &[BlockHash], latest: u64) -> Event {
        let worker = WorkerId(chance.below(4) as u32);
        let booking = BookingId(chance.below(latest as usize + 1) as u64);
        let tokens = |chance: &mut Chance| Tokens(chance.below(500) as u32);
        match chance.below(20) {
            0 => Event::Left { worker },
            17 => Event::Suspected { worker },
            18 => Event::Trusted { worker },
            19 if chance.below(2) == 0 => Event::Placed { worker, place: chance.below(4) as u32 },
            19 => Event::Seated { worker, seats: [None, Some(1), Some(3)][chance.below(3)] },
            16 => Event::Resumed { worker },
            1 => Event::Drained { worker },
            2..5 => {
                let publishes = if chance.below(2) == 0 { Publishes::Nothing } else { Publishes::Events };
                let capacity = (chance.below(4) > 0).then_some(Tokens(2_000));
                Event::Joined { worker, spec: WorkerSpec { capacity, publishes } }
            }
            5 => {
                let (queued, active, context) = (tokens(chance), tokens(chance), tokens(chance));
                Event::Elsewhere {
                    worker,
                    load: Elsewhere { in_flight: 2, unread: 1, queued, active, context },
                }
            }
            6 if chance.below(2) == 0 => {
                let request = Distant { gateway: 1, booking };
                let usage = Usage { prompt: tokens(chance), cached: None, output: tokens(chance) };
                let words = [
                    Event::Sent { request, worker, prompt: Prompt::of(&Request::new(ROOT, blocks)) },
                    Event::Read { request },
                    Event::Ended { request, usage: Some(usage) },
                    Event::Unheard { gateway: 1 },
                ];
                words[chance.below(4)].clone()
            }
            6 => Event::Kv { worker, event: KvEvent::Cleared },
            7 => Event::Kv { worker, event: KvEvent::Removed { blocks: vec![blocks[blocks.len() - 1]] } },
            8..10 => Event::Kv { worker, event: KvEvent::Stored { parent: ROOT, blocks: blocks.to_vec() } },
            10..12 => Event::FirstToken { booking },
            12 => Event::Moved { booking, to: worker },
            13 => Event::Aborted { booking },
            _ => {
                let usage =
                    Usage { prompt: tokens(chance), cached: Some(tokens(chance)), output: tokens(chance) };
                Event::Finished { booking, usage: (chance.below(3) > 0).then_some(usage) }
            }
        }
    }

    #[test]
    fn what_is_kept_from_decision_to_decision_is_what_would_be_made_afresh() {
        for seed in 0..8 {
            let mut chance = Chance::new(seed);
            let mut router = Router::new(Settings::default());
            let (mut now, mut latest) = (Time::ZERO, 0);
            for step in 0..3_000 {
                // Now and then so long that what was done lately has to be measured anew.
                let pause_ms = if step % 1_000 == 999 { 8_000_000 } else { chance.below(200) as u64 };
                now = now + Duration::from_millis(pause_ms);
                let blocks: Vec<_> = (0..1 + chance.below(12))
                    .map(|n| BlockHash((chance.below(3) * 100 + n) as u64))
                    .collect();
                let size = [16, 64][chance.below(2)];
                let (unit, prompt) = ([Unit::Tokens, Unit::Bytes][chance.below(2)], blocks.len() * size);
                let tells_first_token = chance.below(2) == 0;
                let request = Request {
                    unit,
                    prompt,
                    block: size.into(),
                    tells_first_token,
                    ..Request::new(ROOT, &blocks)
                };
                if chance.below(3) == 0 {
                    latest = router.route(&request, now).map_or(latest, |decision| decision.booking.0);
                } else {
                    router.observe(anything(&mut chance, &blocks, latest), now);
                }
                // Not after every step, so that changes pile up.
                if chance.below(3) == 0 {
                    router.survey(&request, now);
                    let kept = router.survey.candidates.clone();
                    assert_eq!(kept, afresh(&mut router, &request, now), "seed {seed}, step {step}");
                    assert_eq!(router.survey.totals, Totals::of(&kept), "seed {seed}, step {step}");
                    let capacities = router.fleet.iter().filter_map(|(_, worker)| worker.capacity());
                    assert_eq!(router.fleet.capacity(), capacities.sum(), "seed {seed}, step {step}");
                }
            }
        }
    }
}
