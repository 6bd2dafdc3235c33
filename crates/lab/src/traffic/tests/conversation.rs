//! The stand-in for the Mooncake conversation trace, held against the trace's published and counted statistics.

use std::collections::HashSet;

use super::caches::{asks, hit_rate, mean, touched_once};
use crate::traffic::Workload;

const ENDLESS: usize = usize::MAX;

#[test]
fn the_stand_in_has_the_statistics_of_the_trace() {
    for seed in [1, 2, 3] {
        let traffic = Workload::parse("conversation").unwrap().traffic(seed);
        let near = |what: &str, is: f64, should: f64, by: f64| {
            assert!((is - should).abs() <= by, "seed {seed}: {what} is {is}, on the trace {should}");
        };
        assert_eq!(traffic.requests(), 12_031);
        near("mean prompt", mean(asks(&traffic).map(|ask| ask.prompt)), 12_035.0, 600.0);
        near("mean output", mean(asks(&traffic).map(|ask| ask.output)), 343.0, 12.0);
        near("share of blocks touched once", touched_once(&traffic), 0.742, 0.03);
        near("hit rate of an endless cache", hit_rate(&traffic, ENDLESS), 0.374, 0.025);
        near("hit rate of 1M tokens", hit_rate(&traffic, 1_000_000), 0.055, 0.01);
        near("hit rate of 10M tokens", hit_rate(&traffic, 10_000_000), 0.29, 0.025);
        let end = traffic.sessions.last().unwrap().start.as_secs_f64();
        near("minutes", end / 60.0, 58.95, 0.3);
    }
}

#[test]
fn one_block_begins_every_request_of_the_stand_in() {
    let traffic = Workload::parse("conversation:requests=500").unwrap().traffic(4);
    let firsts: HashSet<_> = asks(&traffic).map(|ask| (ask.content.blocks[0], &ask.content.text)).collect();
    assert_eq!(firsts.len(), 1);
}

#[test]
fn the_stand_in_tells_time_in_steps_of_three_seconds_unless_spread() {
    let in_steps = |text| {
        let traffic = Workload::parse(text).unwrap().traffic(5);
        traffic.sessions.iter().all(|session| session.start.as_millis() % 3_000 == 0)
    };
    assert!(in_steps("conversation:requests=500"));
    assert!(!in_steps("conversation:requests=500,spread=1"));
}
