//! What a comparison found, as data: the JSON is this structure, the [table](table::render) a view of it.
//!
//! All figures of a workload come from one run on one machine; ratios are against the policy that ran first.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use warmroute_kv::Tokens;

pub use self::summary::Summary;
use self::summary::rounded;
use crate::load::{Answer, Failure, Outcomes, Said};
use crate::machine::Machine;

mod summary;
pub mod table;

/// Different failures that are quoted; the rest are counted.
const FAILURES_QUOTED: usize = 3;

/// Everything one comparison found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The model under test.
    pub model: String,
    /// Seed of the requests and of the policies' chance.
    pub seed: u64,
    /// Where it ran.
    pub machine: Machine,
    /// Workers behind the gateway.
    pub workers: usize,
    /// Tokens each worker's cache holds, where the caller knows.
    pub cache_tokens_per_worker: Option<u32>,
    /// Tokens each request was answered with, at most.
    pub max_tokens: u32,
    /// One entry a workload, in the order they ran.
    pub workloads: Vec<WorkloadReport>,
}

impl Report {
    /// Whether every request was answered and every answer was the uncached one.
    pub fn is_clean(&self) -> bool {
        self.workloads
            .iter()
            .flat_map(|workload| &workload.policies)
            .all(|row| row.answers_equal == row.requests)
    }
}

/// One workload under every policy.
#[derive(Clone, Debug, Serialize)]
pub struct WorkloadReport {
    /// Its name.
    pub name: &'static str,
    /// Requests a policy was given.
    pub requests: usize,
    /// Those sent after every desk had been asked once; what is called warm is measured over them.
    pub warm_requests: usize,
    /// Requests in flight at once.
    pub clients: usize,
    /// Tokens of the prompts that requests share.
    pub set_tokens: u32,
    /// One row a policy, in the order they ran.
    pub policies: Vec<PolicyReport>,
}

impl WorkloadReport {
    /// Fills in every ratio against the first policy.
    pub(crate) fn relate_to_first(&mut self) {
        let Some(first) = self.policies.first().cloned() else { return };
        for row in &mut self.policies {
            row.speedup = ratio(first.latency_ms, row.latency_ms);
            row.ttft_speedup = ratio(first.ttft_ms, row.ttft_ms);
            row.ttft_warm_speedup = ratio(first.ttft_warm_ms, row.ttft_warm_ms);
        }
    }
}

/// One workload under one policy. `None`, and null in the JSON, is what could not be measured.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReport {
    /// The policy with its options, as it was asked for.
    pub policy: String,
    /// Requests sent.
    pub requests: usize,
    /// Requests without a complete answer.
    pub failed: usize,
    /// What the first few different failures said.
    pub failures: Vec<String>,
    /// From sending a request to the end of its answer.
    pub latency_ms: Option<Summary>,
    /// From sending a request to its first text.
    pub ttft_ms: Option<Summary>,
    /// The same over the requests sent after every desk had been asked once.
    pub ttft_warm_ms: Option<Summary>,
    /// Share of prompt tokens taken from a cache, as the workers report it.
    pub hit_rate: f64,
    /// The same for one cache that forgets nothing.
    pub oracle_hit_rate: Option<f64>,
    /// Requests of the busiest worker over the mean of all.
    pub busiest_over_mean: Option<f64>,
    /// The same in prompt tokens computed.
    pub busiest_over_mean_prefill: Option<f64>,
    /// Mean latency of the first policy over this one's.
    pub speedup: Option<f64>,
    /// Mean time to first token of the first policy over this one's.
    pub ttft_speedup: Option<f64>,
    /// The same over the warm requests.
    pub ttft_warm_speedup: Option<f64>,
    /// Complete answers.
    pub answers: usize,
    /// Answers that equal the uncached answer to the same prompt: text, number of tokens and reason to end.
    pub answers_equal: usize,
    /// What each worker did.
    pub workers: BTreeMap<String, Share>,
    /// Seconds from the first request to the last answer.
    pub wall_s: f64,
}

/// What one worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Requests it answered.
    pub requests: u64,
    /// Prompt tokens it computed.
    pub prefill_tokens: u64,
}

/// One policy's run, with what is needed to judge it.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) policy: &'a str,
    pub(crate) outcomes: &'a Outcomes,
    /// The uncached answer to each request.
    pub(crate) expected: &'a [Said],
    pub(crate) warm_from: usize,
    pub(crate) oracle_hit_rate: Option<f64>,
    /// Workers there are, idle ones included.
    pub(crate) workers: usize,
    pub(crate) wall: Duration,
}

impl PolicyReport {
    /// Sums up one run; ratios to other policies are filled in later.
    pub(crate) fn of(run: &Run<'_>) -> Self {
        let answers: Vec<&Answer> = run.outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        let warm = run.outcomes.iter().skip(run.warm_from).filter_map(|outcome| outcome.as_ref().ok());
        let equal = run.outcomes.iter().zip(run.expected);
        let shares = shares(&answers);
        let fleet = run.workers.max(shares.len());
        Self {
            policy: run.policy.to_owned(),
            requests: run.outcomes.len(),
            failed: run.outcomes.len() - answers.len(),
            failures: quote(run.outcomes.iter().filter_map(|outcome| outcome.as_ref().err())),
            latency_ms: Summary::of(answers.iter().map(|answer| answer.latency)),
            ttft_ms: Summary::of(answers.iter().map(|answer| answer.ttft)),
            ttft_warm_ms: Summary::of(warm.map(|answer| answer.ttft)),
            hit_rate: rounded4(hit_rate(&answers)),
            oracle_hit_rate: run.oracle_hit_rate.map(rounded4),
            busiest_over_mean: busiest_over_mean(shares.values().map(|share| share.requests), fleet),
            busiest_over_mean_prefill: busiest_over_mean(
                shares.values().map(|share| share.prefill_tokens),
                fleet,
            ),
            speedup: None,
            ttft_speedup: None,
            ttft_warm_speedup: None,
            answers: answers.len(),
            answers_equal: equal
                .filter(|(outcome, said)| outcome.as_ref().is_ok_and(|answer| answer.said == **said))
                .count(),
            workers: shares,
            wall_s: rounded(run.wall.as_secs_f64()),
        }
    }
}

fn hit_rate(answers: &[&Answer]) -> f64 {
    let cached: f64 = answers.iter().map(|answer| answer.cached.as_f64()).sum();
    let prompt: f64 = answers.iter().map(|answer| answer.prompt.as_f64()).sum();
    if prompt > 0.0 { cached / prompt } else { 0.0 }
}

fn shares(answers: &[&Answer]) -> BTreeMap<String, Share> {
    let mut shares = BTreeMap::<String, Share>::new();
    for answer in answers {
        if let Some(worker) = &answer.worker {
            let share = shares.entry(worker.clone()).or_default();
            let Tokens(computed) = answer.prompt - answer.cached;
            share.requests += 1;
            share.prefill_tokens += u64::from(computed);
        }
    }
    shares
}

/// `None` when no worker was named or nothing was done.
fn busiest_over_mean(counts: impl Iterator<Item = u64> + Clone, workers: usize) -> Option<f64> {
    let busiest = counts.clone().max()?;
    let all: u64 = counts.sum();
    (all > 0).then(|| rounded(busiest as f64 * workers as f64 / all as f64))
}

fn quote<'a>(failures: impl Iterator<Item = &'a Failure>) -> Vec<String> {
    let mut quoted: Vec<String> = Vec::new();
    for failure in failures {
        if quoted.len() < FAILURES_QUOTED && !quoted.contains(&failure.message) {
            quoted.push(failure.message.clone());
        }
    }
    quoted
}

fn ratio(first: Option<Summary>, this: Option<Summary>) -> Option<f64> {
    let (first, this) = (first?.mean, this?.mean);
    (this > 0.0).then(|| rounded(first / this))
}

fn rounded4(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        Said { text: text.to_owned(), tokens: Tokens(1), finish: None }
    }

    fn answer(worker: &str, ttft_ms: u64, cached: u32, text: &str) -> Result<Answer, Failure> {
        Ok(Answer {
            ttft: Duration::from_millis(ttft_ms),
            latency: Duration::from_millis(2 * ttft_ms),
            prompt: Tokens(100),
            cached: Tokens(cached),
            said: said(text),
            worker: Some(worker.to_owned()),
        })
    }

    /// Two policies on four requests; the second is twice as fast, has one failure and one wrong answer.
    pub(crate) fn example() -> Report {
        let expected = ["a", "b", "a", "b"].map(said);
        let slow = vec![
            answer("one", 40, 0, "a"),
            answer("two", 40, 0, "b"),
            answer("one", 40, 80, "a"),
            answer("two", 40, 80, "b"),
        ];
        let lost = Failure { status: Some(502), message: "the worker is gone".to_owned() };
        let fast = vec![
            answer("one", 30, 0, "a"),
            Err(lost),
            answer("one", 10, 80, "a"),
            answer("one", 20, 80, "wrong"),
        ];
        let row = |policy, outcomes: &Outcomes| {
            PolicyReport::of(&Run {
                policy,
                outcomes,
                expected: &expected,
                warm_from: 2,
                oracle_hit_rate: Some(0.4),
                workers: 3,
                wall: Duration::from_secs(1),
            })
        };
        let mut workload = WorkloadReport {
            name: "desks",
            requests: 4,
            warm_requests: 2,
            clients: 4,
            set_tokens: 200,
            policies: vec![row("random", &slow), row("cache_aware", &fast)],
        };
        workload.relate_to_first();
        Report {
            model: "stand-in".to_owned(),
            seed: 42,
            machine: Machine { cores: 2, processor: "a processor".to_owned() },
            workers: 3,
            cache_tokens_per_worker: Some(96),
            max_tokens: 16,
            workloads: vec![workload],
        }
    }

    #[test]
    fn a_row_counts_failures_wrong_answers_hits_and_shares() {
        let report = example();
        assert!(!report.is_clean());
        let [random, cache_aware] = &report.workloads[0].policies[..] else { panic!("two policies") };
        assert_eq!((random.answers, random.answers_equal, random.failed), (4, 4, 0));
        assert_eq!((cache_aware.answers, cache_aware.answers_equal, cache_aware.failed), (3, 2, 1));
        assert_eq!(cache_aware.failures, ["the worker is gone"]);
        assert_eq!((random.hit_rate, cache_aware.hit_rate), (0.4, 0.5333));
        assert_eq!((random.busiest_over_mean, cache_aware.busiest_over_mean), (Some(1.5), Some(3.0)));
        assert_eq!(random.workers["two"], Share { requests: 2, prefill_tokens: 120 });
        assert_eq!((random.speedup, cache_aware.speedup), (Some(1.0), Some(2.0)));
        assert_eq!(cache_aware.ttft_warm_speedup, Some(2.667));
    }

    #[test]
    fn a_run_without_any_answer_has_nothing_to_measure() {
        let lost = Failure { status: None, message: "no".to_owned() };
        let row = PolicyReport::of(&Run {
            policy: "random",
            outcomes: &vec![Err(lost.clone()), Err(lost)],
            expected: &[said("a"), said("a")],
            warm_from: 1,
            oracle_hit_rate: None,
            workers: 3,
            wall: Duration::ZERO,
        });
        assert_eq!((row.failed, row.failures.len(), row.answers), (2, 1, 0));
        assert_eq!((row.latency_ms, row.busiest_over_mean), (None, None));
    }

    /// The schema is a promise to scripts: keys may be added here, never renamed or removed.
    #[test]
    fn the_json_has_the_promised_keys() {
        let json = serde_json::to_value(example()).unwrap();
        let keys = |value: &serde_json::Value| {
            value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(keys(&json), "model seed machine workers cache_tokens_per_worker max_tokens workloads");
        let workload = &json["workloads"][0];
        assert_eq!(keys(workload), "name requests warm_requests clients set_tokens policies");
        let row = &workload["policies"][1];
        assert_eq!(
            keys(row),
            "policy requests failed failures latency_ms ttft_ms ttft_warm_ms hit_rate oracle_hit_rate \
             busiest_over_mean busiest_over_mean_prefill speedup ttft_speedup ttft_warm_speedup answers answers_equal \
             workers wall_s"
        );
        assert_eq!(row["latency_ms"], serde_json::json!({"mean": 40.0, "p50": 40.0, "p95": 60.0}));
        assert_eq!(
            (keys(&row["ttft_ms"]), keys(&row["workers"]["one"])),
            ("mean p50 p95".into(), "requests prefill_tokens".into())
        );
    }
}
