//! Every registered policy serves requests through the gateway.

use warmroute_routing::policy::POLICIES;

use crate::client::{complete, metric, post};
use crate::fleet::gateway_with;
use crate::worker::{Act, Worker};

#[tokio::test(flavor = "multi_thread")]
async fn every_registered_policy_serves_requests() {
    let workers = [
        Worker::start(Act::json("{}")).await,
        Worker::start(Act::json("{}")).await,
        Worker::start(Act::json("{}")).await,
    ];
    for policy in POLICIES {
        let gateway =
            gateway_with(&workers.each_ref(), |config| config.set("policy", policy.name).unwrap()).await;
        for _ in 0..6 {
            let answer = complete(gateway.address()).await;
            assert_eq!((answer.status.as_u16(), answer.header("x-warmroute-policy")), (200, policy.name));
        }
        assert_eq!(
            metric(gateway.address(), "warmroute_request_duration_seconds_count").await,
            6.0,
            "{}",
            policy.name
        );
        assert_eq!(gateway.in_flight(), 0, "{}", policy.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_aware_sends_a_prompt_where_its_beginning_is() {
    let workers = [Worker::start(Act::json("{}")).await, Worker::start(Act::json("{}")).await];
    let gateway =
        gateway_with(&workers.each_ref(), |config| config.set("policy", "cache_aware").unwrap()).await;
    let mut chosen = Vec::new();
    for desk in ["bicycles ", "pottery ", "sailing "] {
        for question in ["What is it?", "Why?", "How?"] {
            let body = format!("{{\"model\":\"m\",\"prompt\":\"{}{question}\"}}", desk.repeat(200));
            let answer = post(gateway.address(), "/v1/completions", body).await;
            chosen.push((
                answer.header("x-warmroute-worker").to_owned(),
                answer.header("x-warmroute-overlap-tokens").to_owned(),
            ));
        }
    }
    for desk in chosen.chunks(3) {
        assert!(desk.iter().all(|(worker, _)| *worker == desk[0].0), "one desk, one worker: {desk:?}");
        assert_eq!(desk[0].1, "0");
        assert!(desk[1..].iter().all(|(_, overlap)| overlap.parse::<u32>().unwrap() > 200), "{desk:?}");
    }
    assert!(chosen.chunks(3).any(|desk| desk[0].0 != chosen[0].0), "not all desks on one worker");
}
