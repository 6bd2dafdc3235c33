//! Small runs, checked as a whole.

use std::sync::Arc;
use std::time::Duration;

use warmroute_kv::{BlockHash, Tokens, text_chain};
use warmroute_routing::Chance;
use warmroute_routing::policy::{POLICIES, PolicyConfig};

use super::*;
use crate::traffic::{Ask, Content, Session, Traffic, Turn};

const BLOCK: u32 = 64;

/// Sessions of three turns each, which grow, and share one of five beginnings of 1,280 tokens.
fn chats(sessions: usize, gap: Duration) -> Traffic {
    let mut chance = Chance::new(8);
    let session = |number: usize| {
        let shared = char::from(b'a' + chance.below(5) as u8).to_string().repeat(20);
        let own = format!("{number:020}");
        let text = format!("{shared}{own}");
        let root = BlockHash(0);
        let blocks: Vec<_> = text_chain(root, text.as_bytes(), 1).collect();
        let content = Arc::new(Content { root, blocks, text });
        let turn = |turn: u32| Turn {
            think: Duration::from_secs(u64::from(turn)),
            asks: vec![Ask {
                content: Arc::clone(&content),
                prompt: Tokens(BLOCK * (24 + 6 * turn)),
                output: Tokens(BLOCK * 2),
            }],
        };
        Session { key: number as u64, start: gap * number as u32, turns: (0..3).map(turn).collect() }
    };
    Traffic { name: "chats".to_owned(), block: Tokens(BLOCK), sessions: (0..sessions).map(session).collect() }
}

fn scenario(policy: PolicyConfig) -> Scenario {
    Scenario {
        workers: 3,
        cache: Tokens(BLOCK * 400),
        engine: EngineModel::H100,
        policy_name: policy.to_string(),
        policy,
        seed: 3,
        view: View::Exact,
        gateways: 1,
        view_lag: Duration::ZERO,
        changes: Vec::new(),
        slo: Slo::default(),
    }
}

fn run(scenario: &Scenario) -> RunReport {
    simulate(&chats(60, Duration::from_millis(150)), scenario).unwrap()
}

#[test]
fn every_policy_answers_everything_and_the_index_equals_the_caches() {
    for info in POLICIES {
        for view in View::ALL {
            let report = run(&Scenario { view, ..scenario(PolicyConfig::of(info)) });
            assert_eq!((report.requests, report.success_rate), (180, 1.0), "{}", info.name);
            assert!(report.hit_rate <= report.oracle_hit_rate, "{report:?}");
            assert!(report.hit_rate > 0.1 && report.ttft_s.mean > 0.012, "{report:?}");
            let fate = report.fate;
            let all = fate.hit + fate.lost_to_load + fate.lost_to_eviction + fate.unseen;
            assert!((all - 1.0).abs() < 1e-9, "{fate:?}");
        }
    }
}

#[test]
fn the_same_scenario_gives_the_same_report_byte_for_byte() {
    let scenario =
        Scenario { gateways: 2, view_lag: Duration::from_millis(250), ..scenario(PolicyConfig::default()) };
    let [one, other] = [(); 2].map(|()| serde_json::to_string(&run(&scenario)).unwrap());
    assert_eq!(one, other);
}

#[test]
fn sessions_wait_for_their_answers_and_think() {
    let alone = simulate(&chats(1, Duration::ZERO), &scenario(PolicyConfig::default())).unwrap();
    let busy = 3.0 * alone.e2e_s.mean;
    assert!(
        (alone.duration_s - busy - 3.0).abs() < 1e-6,
        "three answers, and one and two seconds: {alone:?}"
    );
}

#[test]
fn requests_of_a_dead_worker_are_retried_unless_their_answer_had_begun() {
    let at = Duration::from_secs(4);
    let dies = |happening| Scenario {
        changes: vec![Change { at, worker: 1, happening }],
        ..scenario("least_loaded".parse().unwrap())
    };
    for happening in [Happening::Leave, Happening::Restart] {
        let report = run(&dies(happening));
        let failed = (1.0 - report.success_rate) * 180.0;
        assert!(failed > 0.5 && failed < 20.0, "{failed} requests failed: those being answered there");
        assert!(report.requests < 180 || report.success_rate < 1.0, "{report:?}");
    }
    assert_eq!(run(&dies(Happening::Drain)).success_rate, 1.0, "a drained worker finishes what it has");
}

#[test]
fn a_worker_that_joins_is_used() {
    let changes = vec![Change { at: Duration::from_secs(3), worker: 3, happening: Happening::Join }];
    let report = run(&Scenario { changes, ..scenario(PolicyConfig::default()) });
    assert_eq!(report.timeline.prefilled.len(), 4);
    assert!(report.timeline.prefilled[3].iter().sum::<u64>() > 1_000, "{:?}", report.timeline.prefilled);
}

#[test]
fn a_slow_worker_gets_less_and_lost_events_cost_hits_only() {
    let changed = |happening| {
        let changes = vec![Change { at: Duration::ZERO, worker: 0, happening }];
        run(&Scenario { changes, ..scenario(PolicyConfig::default()) })
    };
    let slow = changed(Happening::Slow(4.0));
    let work = |worker: usize| slow.timeline.prefilled[worker].iter().sum::<u64>();
    assert!(work(0) * 5 < work(1) * 4, "{:?}", slow.timeline.prefilled);
    let lossy = changed(Happening::LoseEvents(0.3));
    assert_eq!(lossy.success_rate, 1.0);
    assert!(lossy.prediction_error > 0.0, "{lossy:?}");
}

#[test]
fn several_gateways_hear_of_each_other_and_lose_little() {
    let several =
        Scenario { gateways: 4, view_lag: Duration::from_millis(250), ..scenario(PolicyConfig::default()) };
    let (one, four) = (run(&scenario(PolicyConfig::default())), run(&several));
    assert_eq!(four.success_rate, 1.0);
    assert!(four.ttft_s.mean < 1.5 * one.ttft_s.mean, "{} against {}", four.ttft_s.mean, one.ttft_s.mean);
}

#[test]
fn several_gateways_with_shadows_hear_what_the_others_sent_and_lose_few_hits() {
    let with = |gateways, view| {
        let view_lag = Duration::from_millis(if gateways > 1 { 250 } else { 0 });
        run(&Scenario { gateways, view, view_lag, ..scenario(PolicyConfig::default()) })
    };
    let (exact, shadow) = (with(4, View::Exact), with(4, View::Shadow));
    assert_eq!(shadow.success_rate, 1.0);
    assert!(shadow.hit_rate > exact.hit_rate - 0.02, "{} against {}", shadow.hit_rate, exact.hit_rate);
}
