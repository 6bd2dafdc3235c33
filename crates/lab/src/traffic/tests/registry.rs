//! What holds for every workload, and what single ones promise.

use std::collections::HashMap;
use std::sync::Arc;

use warmroute_kv::{BlockHash, Tokens};

use super::caches::{asks, hit_rate, mean};
use crate::traffic::{Session, Traffic, WORKLOADS, Workload};

const ENDLESS: usize = usize::MAX;

fn traffic(text: &str) -> Traffic {
    Workload::parse(text).unwrap().traffic(7)
}

#[test]
fn the_same_seed_gives_equal_traffic_and_another_seed_other_traffic() {
    for info in WORKLOADS {
        let workload = Workload::parse(info.name).unwrap();
        let one = workload.traffic(1);
        assert_eq!(one, workload.traffic(1), "{}", info.name);
        assert_ne!(one.sessions[0], workload.traffic(2).sessions[0], "{}", info.name);
    }
}

#[test]
fn sessions_start_in_order_and_prompts_lie_in_their_contents() {
    for info in WORKLOADS {
        let traffic = traffic(info.name);
        assert_eq!((&*traffic.name, traffic.block), (info.name, info.block));
        assert!(traffic.sessions.is_sorted_by_key(|session| session.start), "{}", info.name);
        let keys: Vec<u64> = traffic.sessions.iter().map(|session| session.key).collect();
        assert_eq!(keys, (0..keys.len() as u64).collect::<Vec<_>>(), "{}", info.name);
        assert!(traffic.sessions.iter().all(|session| !session.turns.is_empty()), "{}", info.name);
        for ask in asks(&traffic) {
            assert_eq!(ask.prompt_blocks(traffic.block).len(), ask.prompt.get() / traffic.block.get());
            assert!(ask.output > Tokens::ZERO && ask.prompt > Tokens::ZERO, "{}", info.name);
        }
    }
}

#[test]
fn texts_and_first_blocks_agree_on_who_begins_alike() {
    for info in WORKLOADS {
        let traffic = traffic(info.name);
        let mut texts: HashMap<BlockHash, &str> = HashMap::new();
        for content in asks(&traffic).map(|ask| &ask.content) {
            if let Some(first) = content.blocks.first() {
                assert_eq!(*texts.entry(*first).or_insert(&content.text), content.text, "{}", info.name);
            }
        }
    }
}

#[test]
fn another_rate_changes_when_requests_come_and_not_what_they_say() {
    for (one, other) in [("b2b", "b2b:rate=20"), ("agentic", "agentic:load=1.2"), ("chat", "chat:rate=9")] {
        let (one, other) = (traffic(one), traffic(other));
        let turns = |traffic: &Traffic| -> Vec<_> {
            traffic.sessions.iter().map(|session: &Session| session.turns.clone()).collect()
        };
        assert_eq!(turns(&one), turns(&other));
        assert!(one.sessions.last().unwrap().start > other.sessions.last().unwrap().start);
    }
}

#[test]
fn a_name_shows_what_differs_from_the_defaults() {
    assert_eq!(traffic("b2b:rate=10").name, "b2b");
    assert_eq!(traffic("zipf:rate=20,skew=1.2").name, "zipf:rate=20,skew=1.2");
}

#[test]
fn what_is_no_workload_is_refused_with_a_hint() {
    let message = |text| Workload::parse(text).unwrap_err().to_string();
    assert!(message("b2c").starts_with("there is no workload 'b2c'; hint: use one of conversation, agentic"));
    assert_eq!(
        message("b2b:speed=1"),
        "workload b2b has no option 'speed'; hint: it takes rate, requests, groups, context"
    );
    assert_eq!(
        message("b2b:rate=100"),
        "option 'rate' of workload b2b cannot be '100'; hint: give a number from 3 to 60, as in b2b:rate=3"
    );
}

#[test]
fn users_of_one_group_share_its_system_prompt_and_no_question() {
    let traffic = traffic("b2b");
    let mut groups: HashMap<&str, Vec<&[BlockHash]>> = HashMap::new();
    for ask in asks(&traffic) {
        assert_eq!((ask.prompt, ask.output), (Tokens(7_200), Tokens(1_000)));
        groups.entry(&ask.content.text).or_default().push(&ask.content.blocks);
    }
    assert_eq!(groups.len(), 150);
    for prompts in groups.values() {
        for pair in prompts.windows(2) {
            let shared = pair[0].iter().zip(pair[1]).take_while(|(one, other)| one == other).count();
            assert_eq!(shared, 6_000 / 64);
        }
    }
}

#[test]
fn users_with_a_context_share_that_too() {
    let rate = hit_rate(&traffic("b2b:groups=1,context=6400"), ENDLESS);
    // All but the 1,200 tokens of a question, of 13,600; the five users and the block borders cost a little.
    assert!((rate - 12_400.0 / 13_600.0).abs() < 0.01, "{rate}");
}

#[test]
fn the_hot_prefix_begins_its_share_of_requests() {
    let share = |text: &str| {
        let traffic = traffic(text);
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for ask in asks(&traffic) {
            *counts.entry(&ask.content.text).or_default() += 1;
        }
        counts.into_values().max().unwrap() as f64 / traffic.requests() as f64
    };
    assert!((share("hot_prefix") - 0.7).abs() < 0.02);
    assert!((share("hot_prefix:share=0.3") - 0.3).abs() < 0.02);
}

#[test]
fn uniform_prompts_share_nothing() {
    let traffic = traffic("uniform");
    assert_eq!(hit_rate(&traffic, ENDLESS).to_bits(), 0.0_f64.to_bits());
    assert!(asks(&traffic).all(|ask| (500..=8_000).contains(&ask.prompt.0)));
}

#[test]
fn the_steeper_the_popularity_the_more_a_small_cache_hits() {
    let rates = ["zipf:skew=0.8", "zipf", "zipf:skew=1.2"].map(|text| hit_rate(&traffic(text), 300_000));
    assert!(rates[0] + 0.05 < rates[1] && rates[1] + 0.05 < rates[2], "{rates:?}");
}

#[test]
fn every_turn_of_a_chat_goes_on_from_the_answer_before() {
    let traffic = traffic("chat");
    let first = &traffic.sessions[0];
    assert_eq!(first.turns.len(), 8);
    for pair in first.turns.windows(2) {
        let (before, after) = (&pair[0].asks[0], &pair[1].asks[0]);
        assert!(Arc::ptr_eq(&before.content, &after.content));
        assert!(after.prompt > before.prompt + before.output);
        assert!(!pair[1].think.is_zero(), "people think before they go on");
    }
}

#[test]
fn agents_grow_to_long_contexts_and_stop_there() {
    let traffic = traffic("agentic");
    let longest = asks(&traffic).map(|ask| ask.prompt + ask.output).max().unwrap();
    assert!((Tokens(110_000)..=Tokens(120_000)).contains(&longest), "{longest}");
    let turns: Vec<usize> = traffic.sessions.iter().map(|session| session.turns.len()).collect();
    assert!(turns.iter().any(|count| *count > 60) && turns.iter().all(|count| (2..=160).contains(count)));
    assert!(mean(asks(&traffic).map(|ask| ask.output)) < 450.0);
}

#[test]
fn sub_agents_come_seven_at_once_and_share_only_their_system_prompt() {
    let traffic = traffic("agentic");
    let turns = || traffic.sessions.iter().flat_map(|session| &session.turns);
    let bursts: Vec<_> = turns().filter(|turn| turn.asks.len() > 1).collect();
    assert!(bursts.iter().all(|burst| burst.asks.len() == 7));
    let share = bursts.len() as f64 / turns().count() as f64;
    assert!((share - 0.05).abs() < 0.015, "{share}");
    let [one, other, ..] = &bursts[0].asks[..] else { panic!("seven asks") };
    let shared = one.content.blocks.iter().zip(&other.content.blocks).take_while(|(a, b)| a == b).count();
    assert_eq!(shared, 5_000 / 128);
    for session in &traffic.sessions {
        assert_eq!(session.turns.last().unwrap().asks.len(), 1, "the session goes on after a burst");
    }
}
