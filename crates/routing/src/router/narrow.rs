//! Leaves those of the candidates that may take a request: a fleet may serve several models, and some state lives on one worker only.
//!
//! Load and caches are known per worker, whatever models it serves (a worker with adapters serves many over one cache), so there is one
//! survey of all workers, and this is a view of it. Most requests may go to anybody, and then nothing is copied.

use warmroute_kv::Tokens;

use super::Router;
use super::survey::Survey;
use crate::fleet::State;
use crate::policy::{Candidate, Candidates, Occasion, Totals};
use crate::request::Request;
use crate::scale::Block;

impl Survey {
    /// Finds the candidates that `request` may go to.
    pub(super) fn narrow(&mut self, request: &Request<'_>) {
        let Some(among) = request.among else { return };
        let mut narrowed = std::mem::take(&mut self.narrowed);
        narrowed.clear();
        let up = among.iter().filter_map(|worker| self.place(*worker));
        narrowed.extend(up.map(|place| self.candidates[place]));
        self.totals = Totals::of(&narrowed);
        self.narrowed = narrowed;
    }

    /// The candidates that `request` may go to, in order of their ids, once they have been found.
    fn eligible(&self, request: &Request<'_>) -> &[Candidate] {
        if request.among.is_some() { &self.narrowed } else { &self.candidates }
    }

    /// The same, as a policy sees them.
    pub(super) fn among(&self, request: &Request<'_>, occasion: Occasion) -> Option<Candidates<'_>> {
        Candidates::counted(self.eligible(request), self.totals, occasion)
    }
}

impl Router {
    /// Where all that may take a request are suspected, they are asked all the same, as all are where the whole fleet is. What they hold
    /// was not looked up: it is a guess between a few bad ones.
    pub(super) fn stand_in(&mut self, request: &Request<'_>, block: Block, prompt: Tokens) {
        let Some(among) = request.among.filter(|_| self.survey.eligible(request).is_empty()) else { return };
        let account = |id| Some((id, self.fleet.get(id)?));
        let accounts = among.iter().filter_map(|id| account(*id));
        let asked = accounts.filter(|(_, worker)| worker.state == State::Up && worker.has_room());
        let candidate =
            |(id, worker)| Candidate { uncached: prompt, ..self.standing_candidate(id, worker, block) };
        self.survey.narrowed = asked.map(candidate).collect();
        self.survey.totals = Totals::of(&self.survey.narrowed);
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::BlockHash;

    use crate::{
        Event, NoWorker, Publishes, Reason, Request, Router, Settings, Time, Unit, Usage, WorkerId,
        WorkerSpec,
    };
    use warmroute_kv::Tokens;

    const ROOT: BlockHash = BlockHash(0);

    fn router(policy: &str, workers: u32) -> Router {
        let mut router = Router::new(Settings { policy: policy.parse().unwrap(), ..Settings::default() });
        for id in 0..workers {
            let spec = WorkerSpec { capacity: Some(Tokens(4_000)), publishes: Publishes::Nothing };
            router.observe(Event::Joined { worker: WorkerId(id), spec }, Time::ZERO);
        }
        router
    }

    #[test]
    fn every_policy_chooses_and_falls_back_only_among_those_that_may_take_it() {
        for policy in crate::policy::POLICIES {
            let mut router = router(policy.name, 6);
            let among = [WorkerId(1), WorkerId(4), WorkerId(5), WorkerId(9)];
            for prompt in 0..40_u64 {
                let blocks: Vec<_> = (0..8).map(|n| BlockHash(prompt % 5 * 100 + n)).collect();
                let request = Request { among: Some(&among), ..Request::new(ROOT, &blocks) };
                let told = router.explain(&request, Time::ZERO).unwrap();
                let decision = router.route(&request, Time::ZERO).unwrap();
                assert!(among.contains(&decision.worker), "{}", policy.name);
                assert!(decision.fallbacks.iter().all(|worker| among.contains(worker)), "{}", policy.name);
                assert_eq!((told.worker, told.fallbacks), (decision.worker, decision.fallbacks));
                // Others hold the same prompts, which is no loss to a request that could not have gone there.
                router.route(&Request::new(ROOT, &blocks), Time::ZERO).unwrap();
                let fate = decision.fate;
                assert_eq!(
                    fate.hit + fate.lost_to_load + fate.lost_to_eviction + fate.unseen,
                    decision.prompt
                );
            }
        }
    }

    #[test]
    fn the_only_one_that_may_take_it_takes_it_and_nobody_else_does_if_it_is_gone() {
        let mut router = router("cache_aware", 3);
        let only = [WorkerId(2)];
        let request = Request { among: Some(&only), ..Request::new(ROOT, &[]) };
        let decision = router.route(&request, Time::ZERO).unwrap();
        assert_eq!((decision.worker, decision.reason), (WorkerId(2), Reason::Only));
        assert_eq!(decision.fallbacks, []);
        router.observe(Event::Left { worker: WorkerId(2) }, Time::ZERO);
        assert_eq!(router.route(&request, Time::ZERO).unwrap_err(), NoWorker::Unreachable);
        assert!(router.route(&Request::new(ROOT, &[]), Time::ZERO).is_ok());
    }

    #[test]
    fn a_suspected_worker_is_asked_where_no_other_serves_the_model() {
        let mut router = router("cache_aware", 3);
        let only = [WorkerId(2)];
        let request = Request { among: Some(&only), ..Request::new(ROOT, &[]) };
        router.observe(Event::Suspected { worker: WorkerId(2) }, Time::ZERO);
        assert_eq!(router.route(&request, Time::ZERO).unwrap().worker, WorkerId(2));
        assert_ne!(router.route(&Request::new(ROOT, &[]), Time::ZERO).unwrap().worker, WorkerId(2));
        router.observe(Event::Seated { worker: WorkerId(2), seats: Some(1) }, Time::ZERO);
        assert_eq!(router.route(&request, Time::ZERO).unwrap_err(), NoWorker::Full);
    }

    #[test]
    fn what_goes_by_load_is_spread_evenly_under_every_policy_and_teaches_nothing() {
        for policy in crate::policy::POLICIES {
            let mut router = router(policy.name, 4);
            let request =
                Request { unit: Unit::Bytes, prompt: 400, by_load: true, ..Request::new(ROOT, &[]) };
            let mut bookings = Vec::new();
            for _ in 0..40 {
                let decision = router.route(&request, Time::ZERO).unwrap();
                assert_eq!((decision.policy, decision.reason), ("least_loaded", Reason::LeastLoad));
                assert_eq!(decision.prompt, Tokens(100));
                bookings.push(decision.booking);
            }
            assert!((0..4).all(|id| router.in_flight_at(WorkerId(id)) == 10), "{}", policy.name);
            let usage = Some(Usage { prompt: Tokens(1), cached: None, output: Tokens::ZERO });
            for booking in bookings {
                router.observe(Event::Finished { booking, usage }, Time::from_millis(1));
            }
            assert_eq!(router.route(&request, Time::ZERO).unwrap().prompt, Tokens(100));
        }
    }
}
