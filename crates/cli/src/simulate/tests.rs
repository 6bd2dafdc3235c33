//! Flags as their users meet them: what they come to, and what is said of every kind of bad value.

use std::collections::BTreeSet;

use clap::Parser;
use warmroute_lab::simulate::suite::REGIMES;

use super::plan::{Plan, Source};
use super::*;
use warmroute_lab::{
    rivals,
    traffic::{WORKLOADS, Workload},
};

#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    flags: Flags,
}

fn flags(arguments: &[&str]) -> Result<Flags, String> {
    let arguments = std::iter::once("simulate").chain(arguments.iter().copied());
    Alone::try_parse_from(arguments).map(|alone| alone.flags).map_err(|error| error.to_string())
}

fn plan(arguments: &[&str]) -> Plan {
    Plan::of(&flags(arguments).unwrap()).unwrap()
}

/// What is said of flags that parse and cannot be planned.
fn refusal(arguments: &[&str]) -> String {
    match Plan::of(&flags(arguments).unwrap()) {
        Ok(_) => panic!("{arguments:?} should not be possible"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn without_flags_everybody_plays_the_usual_workload() {
    let plan = plan(&[]);
    let names: Vec<&str> = plan.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, rivals::all());
    assert_eq!((plan.experiments.len(), plan.seeds.as_slice(), plan.engines.len()), (1, &[1][..], 1));
    let workload = Workload::parse("conversation").unwrap();
    let fleet = &plan.experiments[0].fleets[0];
    assert_eq!((fleet.workers, fleet.cache), (workload.fleet().workers, workload.fleet().cache));
}

#[test]
fn every_bad_value_is_told_with_a_hint() {
    for (arguments, expected) in [
        (["--workload", "weekend"], "there is no workload 'weekend'; hint: use one of conversation"),
        (["--trace-timestamps", "late"], "'late' is no way to read timestamps; hint: spread or as-is"),
        (["--trace-block", "0"], "'0' is no number of tokens; hint: write it as 307200, 307k or 1M"),
        (["--rate", "0"], "'0' is no rate; hint: 1.5 sends"),
        (["--rate", "inf"], "'inf' is no rate"),
        (["--suite", "chat,weekend"], "there is no regime 'weekend'; hint: all, or some of"),
        (["--workers", "0"], "'0' is no count; hint: a whole number from 1 on"),
        (["--cache-tokens", "1.5"], "'1.5' is no number of tokens"),
        (["--cache-tokens", "9G"], "'9G' is no number of tokens"),
        (["--cache-tokens", "9000M"], "'9000M' is no number of tokens"),
        (["--engine-model", "tpu"], "'tpu' is no engine model; hint: h100, mocker or all"),
        (["--view", "blurred"], "'blurred' is no view; hint: exact or shadow"),
        (["--gateways", "none"], "'none' is no count"),
        (["--view-lag-ms", "-1"], "'-1' is no time in milliseconds; hint: a whole number, such as 250"),
        (["--change", "300s:explode:3"], "'explode' cannot happen to a worker; hint: join"),
        (["--change", "soon:leave:3"], "'soon' is no time; hint: write it as 90s"),
        (["--sweep", "luck=1,2"], "'luck=1,2' is no sweep; hint: workers=2,4,8"),
        (["--sweep", "workers=2,many"], "'many' is no count"),
        (["--sweep", "workers="], "'' is no count"),
        (["--sweep", "rate=1,-1"], "'-1' is no rate"),
        (["--policy", "warmest"], "there is no policy 'warmest'; hint: use one of random"),
        (["--policy", "cache_aware:luck=1"], "policy cache_aware has no option 'luck'; hint: it takes"),
        (["--seeds", "0"], "'0' is no count"),
        (["--slo-ttft-ms", "soon"], "'soon' is no time in milliseconds"),
        (["--slo-tpot-ms", "1.5"], "'1.5' is no time in milliseconds"),
        (["--jobs", "0"], "'0' is no count"),
    ] {
        // `--flag=value`, since a value may begin with a dash.
        let said = flags(&[&arguments.join("=")]).map(|_| ()).unwrap_err();
        assert!(said.contains(expected), "{arguments:?}: expected `{expected}` in: {said}");
        assert!(said.contains("hint: "), "{arguments:?}: {said}");
    }
}

#[test]
fn what_cannot_be_together_is_refused() {
    for arguments in [
        &["--suite", "all", "--workers", "2"][..],
        &["--suite", "all", "--workload", "chat"],
        &["--suite", "all", "--sweep", "workers=1,2"],
        &["--json", "--markdown"],
        &["--sweep", "workers=1,2", "--workers", "2"],
        &["--sweep", "rate=1,2", "--rate", "2"],
        &["--sweep", "cache-tokens=1k,2k", "--cache-tokens", "2k"],
    ] {
        let is_refused = flags(arguments).map_or(true, |flags| Plan::of(&flags).is_err());
        assert!(is_refused, "{arguments:?}");
    }
    let said = refusal(&["--sweep", "rate=1,2", "--rate", "2"]);
    assert_eq!(said, "--sweep rate varies what --rate sets; hint: leave one of them");
    let said = refusal(&["--sweep", "rate=1,2", "--plot", "a.svg"]);
    assert!(said.contains("--plot draws one workload, fleet and engine model; hint: "), "{said}");
    let said = refusal(&["--sweep", "workers=2,4", "--change", "3s:leave:3"]);
    assert!(said.contains("workers are numbered from 0 to 1"), "{said}");
}

#[test]
fn lists_keep_their_options_and_their_order_and_drop_what_is_said_twice() {
    let plan = plan(&[
        "--policy",
        "random,cache_aware:wait=1,kappa=50",
        "--policy",
        "random",
        "--workload",
        "chat,agentic",
    ]);
    let names: Vec<&str> = plan.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["random", "cache_aware:wait=1,kappa=50"]);
    let sources: Vec<String> = plan.experiments.iter().map(|experiment| experiment.source.name()).collect();
    assert_eq!(sources, ["chat", "agentic"]);
}

#[test]
fn a_sweep_is_a_fleet_for_each_value_and_seeds_are_counted_from_the_first() {
    let plan =
        plan(&["--sweep", "cache-tokens=100k,1M", "--seed", "7", "--seeds", "3", "--engine-model", "all"]);
    let caches: Vec<u32> = plan.experiments[0].fleets.iter().map(|fleet| fleet.cache.0).collect();
    assert_eq!((caches, plan.seeds.as_slice()), (vec![100_000, 1_000_000], &[7, 8, 9][..]));
    assert_eq!(plan.runs(&plan.experiments[0]), 2 * 2 * plan.policies.len() * 3);
}

#[test]
fn every_regime_of_the_suite_can_be_planned_and_the_trace_takes_the_conversations_place() {
    let plan = plan(&["--suite", "all", "--trace", "trace.jsonl"]);
    assert_eq!(plan.experiments.len(), REGIMES.len());
    let traces: Vec<&str> = plan
        .experiments
        .iter()
        .filter(|experiment| matches!(experiment.source, Source::Trace { .. }))
        .filter_map(|experiment| Some(experiment.regime?.name))
        .collect();
    assert_eq!(traces, ["conversation"]);
}

#[test]
fn the_help_lists_every_workload_policy_rival_and_regime_once() {
    let lists = help::lists();
    let entries: Vec<&str> = lists
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    let shipped = warmroute_routing::policy::POLICIES;
    let count = WORKLOADS.len() + shipped.len() + rivals::RIVALS.len() + REGIMES.len();
    assert_eq!(entries.len(), count, "{lists}");
    let workloads: BTreeSet<&str> = WORKLOADS.iter().map(|info| info.name).collect();
    assert_eq!(workloads.len(), WORKLOADS.len(), "names are unique");
}

#[test]
fn runs_come_in_the_order_of_fleets_engines_policies_and_seeds_whatever_ends_first() {
    let plan = plan(&[
        "--workload=chat:sessions=2",
        "--policy=random,cache_aware",
        "--seeds=2",
        "--engine-model=all",
        "--sweep=rate=1,2",
    ]);
    let runs = play::play(&plan, &plan.experiments[0], 3).unwrap();
    let told: Vec<_> =
        runs.iter().map(|run| (run.rate, run.engine_model, run.policy.as_str(), run.seed)).collect();
    let mut expected = Vec::new();
    for rate in [1.0, 2.0] {
        for engine in ["h100", "mocker"] {
            for policy in ["random", "cache_aware"] {
                expected.extend([1, 2].map(|seed| (rate, engine, policy, seed)));
            }
        }
    }
    assert_eq!(told, expected);
}
