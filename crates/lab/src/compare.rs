//! The experiment: the same requests under each policy, from empty caches, judged against uncached answers.
//!
//! Per workload: (1) every distinct prompt once under a cache salt of its own, straight to the workers: the right
//! answers; (2) what an endless cache would hit, from token ids; (3) for each policy a fresh gateway, empty caches on all
//! workers, and the requests in their order. A fresh gateway per policy and workload, because what a router has learnt
//! from one run must not help it in the next.

use std::future::Future;
use std::time::{Duration, Instant};

use warmroute_kv::TokenId;

use crate::client::{BaseUrl, CallError, Server};
use crate::load::{Failure, Load, Said};
use crate::machine::Machine;
use crate::oracle;
use crate::progress::Progress;
use crate::report::{PolicyReport, Report, Run, WorkloadReport};
use crate::ruler::Ruler;
use crate::workload::{Workload, WorkloadError};

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The model to name in requests.
    pub model: String,
    /// Who tells token ids, for the oracle.
    pub ruler: Ruler,
    /// Who is asked, in turn, for the uncached answers; at least one.
    pub references: Vec<Server>,
    /// What is sent.
    pub workloads: Vec<Workload>,
    /// The policies, in order; ratios are against the first.
    pub policies: Vec<String>,
    /// Shown in the report, so that it can be repeated.
    pub seed: u64,
    /// Requests in flight at once, where not the workload's own number.
    pub clients: Option<usize>,
    /// Tokens each request may be answered with.
    pub max_tokens: u32,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Tokens of a block of the workers' caches.
    pub block_tokens: usize,
    /// Tokens each worker's cache holds, where the caller knows; shown in the report.
    pub cache_tokens: Option<u32>,
}

/// The fleet under test: workers that stay, and a gateway that is made anew for each run.
pub trait Fleet {
    /// A running gateway.
    type Gateway;

    /// The workers behind the gateway, whose caches are emptied before each run; none if they cannot be reached.
    fn workers(&self) -> &[Server];

    /// Starts a gateway with this policy, ready to route to every worker.
    fn gateway(&self, policy: &str) -> impl Future<Output = Result<Self::Gateway, FleetError>>;

    /// Where a gateway listens.
    fn url(&self, gateway: &Self::Gateway) -> BaseUrl;

    /// Ends a gateway; its port is free again afterwards.
    fn stop(&self, gateway: Self::Gateway) -> impl Future<Output = ()>;
}

/// Whatever kept a gateway from starting; it carries its own hint.
pub type FleetError = Box<dyn std::error::Error + Send + Sync>;

/// Why an experiment has no result.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The requests could not be written.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A worker did not do as it was told.
    #[error(transparent)]
    Worker(#[from] CallError),
    /// No gateway, no run.
    #[error("the gateway for policy `{policy}` did not start: {source}")]
    Gateway {
        /// The policy.
        policy: String,
        /// Its own words.
        source: FleetError,
    },
    /// Without the right answer nothing can be judged.
    #[error("there is no uncached answer to request {request} of {workload}: {source}")]
    NoReference {
        /// The workload.
        workload: &'static str,
        /// The request's place in it.
        request: usize,
        /// What happened.
        source: Failure,
    },
    /// An answer that is to be the uncached one came from the cache.
    #[error(
        "a worker used {cached} cached tokens for request {request} of {workload}, which has a cache_salt of its own; hint: does the server honour cache_salt?"
    )]
    SaltIgnored {
        /// The workload.
        workload: &'static str,
        /// The request's place in it.
        request: usize,
        /// Tokens it took from the cache.
        cached: u32,
    },
}

/// Runs the plan; nothing is left running or cached on purpose afterwards.
///
/// # Errors
/// If the experiment itself cannot be done. Requests that fail under a policy are counted in the report instead.
pub async fn compare<F: Fleet>(plan: &Plan, fleet: &F, progress: Progress) -> Result<Report, LabError> {
    let mut workloads = Vec::with_capacity(plan.workloads.len());
    for workload in &plan.workloads {
        let bench = Bench { plan, fleet, workload, progress };
        workloads.push(bench.run().await?);
    }
    Ok(Report {
        model: plan.model.clone(),
        seed: plan.seed,
        machine: Machine::here(),
        workers: fleet.workers().len(),
        cache_tokens_per_worker: plan.cache_tokens,
        max_tokens: plan.max_tokens,
        workloads,
    })
}

/// One workload of a plan on a fleet.
struct Bench<'a, F> {
    plan: &'a Plan,
    fleet: &'a F,
    workload: &'a Workload,
    progress: Progress,
}

impl<F: Fleet> Bench<'_, F> {
    async fn run(&self) -> Result<WorkloadReport, LabError> {
        let oracle_hit_rate = self.oracle_hit_rate().await?;
        let expected = self.uncached_answers().await?;
        let mut policies = Vec::with_capacity(self.plan.policies.len());
        for policy in &self.plan.policies {
            policies.push(self.policy(policy, &expected, oracle_hit_rate).await?);
        }
        let requests = self.workload.requests.len();
        let mut report = WorkloadReport {
            name: self.workload.kind.name(),
            requests,
            warm_requests: requests - self.workload.warm_from(),
            clients: self.load().clients,
            set_tokens: self.workload.set.0,
            policies,
        };
        report.relate_to_first();
        Ok(report)
    }

    fn load(&self) -> Load {
        Load {
            model: self.plan.model.clone(),
            clients: self.plan.clients.unwrap_or(self.workload.kind.clients()),
            max_tokens: self.plan.max_tokens,
            timeout: self.plan.timeout,
        }
    }

    async fn oracle_hit_rate(&self) -> Result<Option<f64>, LabError> {
        let step = self.step("token ids", self.workload.requests.len());
        let mut prompts: Vec<Vec<TokenId>> = Vec::with_capacity(self.workload.requests.len());
        for request in &self.workload.requests {
            let Some(ids) = self.plan.ruler.ids(&request.body).await? else { return Ok(None) };
            prompts.push(ids);
            step.advance();
        }
        Ok(Some(oracle::hit_rate(prompts.iter().map(Vec::as_slice), self.plan.block_tokens)))
    }

    /// The answer of an empty cache to each request.
    async fn uncached_answers(&self) -> Result<Vec<Said>, LabError> {
        let requests = &self.workload.requests;
        let first_of_each = self.workload.first_of_each();
        let distinct: Vec<usize> =
            (0..requests.len()).filter(|place| first_of_each[*place] == *place).collect();
        let asked: Vec<_> = distinct.iter().map(|place| &requests[*place]).collect();
        let step = self.step("uncached answers", asked.len());
        let outcomes = self.load().run_uncached(&self.plan.references, &asked, || step.advance()).await;
        let mut answers = vec![None; requests.len()];
        for (place, outcome) in distinct.into_iter().zip(outcomes) {
            answers[place] = Some(self.reference(place, outcome)?);
        }
        let answer =
            |place: &usize| answers[*place].clone().expect("the first of each prompt was asked above");
        Ok(first_of_each.iter().map(answer).collect())
    }

    fn reference(
        &self,
        request: usize,
        outcome: Result<crate::load::Answer, Failure>,
    ) -> Result<Said, LabError> {
        let workload = self.workload.kind.name();
        match outcome {
            Ok(answer) if answer.cached.0 > 0 => {
                Err(LabError::SaltIgnored { workload, request, cached: answer.cached.0 })
            }
            Ok(answer) => Ok(answer.said),
            Err(source) => Err(LabError::NoReference { workload, request, source }),
        }
    }

    async fn policy(
        &self,
        policy: &str,
        expected: &[Said],
        oracle: Option<f64>,
    ) -> Result<PolicyReport, LabError> {
        for worker in self.fleet.workers() {
            worker.reset_cache().await?;
        }
        let started = self.fleet.gateway(policy).await;
        let gateway = started.map_err(|source| LabError::Gateway { policy: policy.to_owned(), source })?;
        let requests = &self.workload.requests;
        let step = self.step(policy, requests.len());
        let start = Instant::now();
        let server = Server::new(self.fleet.url(&gateway));
        let outcomes = self.load().run(&server, requests, || step.advance()).await;
        let wall = start.elapsed();
        self.fleet.stop(gateway).await;
        Ok(PolicyReport::of(&Run {
            policy,
            outcomes: &outcomes,
            expected,
            warm_from: self.workload.warm_from(),
            oracle_hit_rate: oracle,
            workers: self.fleet.workers().len(),
            wall,
        }))
    }

    fn step(&self, what: &str, length: usize) -> crate::progress::Step {
        self.progress.step(&format!("{}: {what}", self.workload.kind), length)
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::Blocks;

    use super::*;
    use crate::tests::stand_in::{Behaviour, StandIn};
    use crate::workload::{Kind, Shape};

    /// A fleet of one worker that is its own gateway; the policies are names only.
    struct Lone {
        stand_in: StandIn,
        workers: Vec<Server>,
    }

    impl Lone {
        async fn start(behaviour: Behaviour) -> Self {
            let stand_in = StandIn::start(behaviour).await;
            Self { workers: vec![stand_in.client()], stand_in }
        }

        async fn plan(&self, kinds: &[Kind]) -> Plan {
            let ruler = Ruler::of(self.stand_in.client(), "stand-in").await.unwrap();
            let shape = Shape { desks: 3, questions: 5, ..Shape::default() };
            let mut workloads = Vec::new();
            for kind in kinds {
                workloads.push(Workload::build(*kind, &shape, &ruler).await.unwrap());
            }
            Plan {
                model: "stand-in".to_owned(),
                ruler,
                references: self.workers.clone(),
                workloads,
                policies: vec!["one".to_owned(), "other".to_owned()],
                seed: shape.seed,
                clients: Some(1),
                max_tokens: 16,
                timeout: Duration::from_secs(10),
                block_tokens: 16,
                cache_tokens: None,
            }
        }
    }

    impl Fleet for Lone {
        type Gateway = Server;

        fn workers(&self) -> &[Server] {
            &self.workers
        }

        async fn gateway(&self, policy: &str) -> Result<Server, FleetError> {
            if policy == "broken" { Err("no such policy".into()) } else { Ok(self.stand_in.client()) }
        }

        fn url(&self, gateway: &Server) -> BaseUrl {
            gateway.base().clone()
        }

        async fn stop(&self, _: Server) {}
    }

    #[tokio::test]
    async fn with_ample_cache_and_one_client_every_policy_hits_what_the_oracle_hits() {
        let lone = Lone::start(Behaviour::default()).await;
        let report = compare(&lone.plan(&Kind::ALL).await, &lone, Progress::Silent).await.unwrap();
        assert!(report.is_clean());
        let names: Vec<&str> = report.workloads.iter().map(|workload| workload.name).collect();
        assert_eq!(names, ["phrases", "desks", "preamble"]);
        for row in report.workloads.iter().flat_map(|workload| &workload.policies) {
            assert_eq!(Some(row.hit_rate), row.oracle_hit_rate, "{row:?}");
            assert!(row.hit_rate > 0.5, "{row:?}");
            assert_eq!((row.failed, row.busiest_over_mean), (0, Some(1.0)));
        }
    }

    #[tokio::test]
    async fn a_small_cache_hits_less_than_the_oracle() {
        let lone = Lone::start(Behaviour { capacity: Blocks(40), ..Behaviour::default() }).await;
        let report = compare(&lone.plan(&[Kind::Desks]).await, &lone, Progress::Silent).await.unwrap();
        let row = &report.workloads[0].policies[0];
        assert!(Some(row.hit_rate) < row.oracle_hit_rate, "{row:?}");
    }

    #[tokio::test]
    async fn an_answer_that_the_cache_changes_is_told_from_the_uncached_one() {
        let lone = Lone::start(Behaviour { forgetful: true, ..Behaviour::default() }).await;
        let report = compare(&lone.plan(&[Kind::Phrases]).await, &lone, Progress::Silent).await.unwrap();
        let row = &report.workloads[0].policies[0];
        assert_eq!(
            (row.answers, row.answers_equal),
            (6, 2),
            "only the first of each phrase is computed in full"
        );
        assert!(!report.is_clean());
    }

    #[tokio::test]
    async fn what_makes_an_experiment_impossible_is_said() {
        let lone = Lone::start(Behaviour { status: 500, ..Behaviour::default() }).await;
        let error = compare(&lone.plan(&[Kind::Phrases]).await, &lone, Progress::Silent).await.unwrap_err();
        assert!(matches!(error, LabError::NoReference { request: 0, .. }), "{error}");

        let lone = Lone::start(Behaviour { salt_ignored: true, ..Behaviour::default() }).await;
        let twice = lone.plan(&[Kind::Desks]).await;
        let error = compare(&twice, &lone, Progress::Silent).await.unwrap_err();
        assert!(matches!(error, LabError::SaltIgnored { .. }), "{error}");

        let lone = Lone::start(Behaviour::default()).await;
        let plan = Plan { policies: vec!["broken".to_owned()], ..lone.plan(&[Kind::Phrases]).await };
        let error = compare(&plan, &lone, Progress::Silent).await.unwrap_err().to_string();
        assert!(error.contains("`broken`") && error.contains("no such policy"), "{error}");
    }
}
