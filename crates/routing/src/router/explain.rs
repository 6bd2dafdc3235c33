//! Where a request would go, and what speaks for and against every worker: a decision without its consequences.

use super::fallbacks::fallbacks;
use super::{Router, fate};
use crate::policy::{self, Candidate, Choice};
use crate::request::{Fate, NoWorker, Reason, Request, WorkerId};
use crate::time::Time;

/// What [`Router::route`] would decide now, and by what it would judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The worker that would be chosen.
    pub worker: WorkerId,
    /// What would decide.
    pub reason: Reason,
    /// The policy that would decide.
    pub policy: &'static str,
    /// What would become of the prompt's tokens.
    pub fate: Fate,
    /// Where it would go next if that worker could not be reached, best first.
    pub fallbacks: Vec<WorkerId>,
    /// What is known of every worker that takes requests, in order of their ids.
    pub candidates: Vec<Candidate>,
}

impl Router {
    /// Tells where `request` would go. Nothing is booked, and neither policy nor memory learns of it, so the next decision is the same as
    /// if nobody had asked.
    ///
    /// # Errors
    /// If no worker takes requests.
    pub fn explain(&mut self, request: &Request<'_>, now: Time) -> Result<Explanation, NoWorker> {
        self.write_up();
        self.survey(request, now);
        let blocks = self.ghost.known(request.blocks);
        let occasion = self.occasion_after(request, blocks, now);
        let among = self.survey.among(request, occasion).ok_or_else(|| self.nobody(request))?;
        let (rule, policy) = match request.by_load {
            true => (&self.by_load, policy::BY_LOAD),
            false => (&self.policy, self.policy_name),
        };
        let Choice { worker, reason } = if among.count() == 1 {
            Choice { worker: among.nth(0).worker, reason: Reason::Only }
        } else {
            rule.fork().choose(request, among, &mut self.chance.clone())
        };
        let chosen = among.of(worker).expect("a policy chooses one of the candidates");
        let fate = fate(chosen, among.overlaps().1, among.remembered());
        let fallbacks = fallbacks(among, worker);
        let candidates = among.iter().copied().collect();
        Ok(Explanation { worker, reason, policy, fate, fallbacks, candidates })
    }
}
