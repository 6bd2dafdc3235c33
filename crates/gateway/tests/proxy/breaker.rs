//! A worker whose answers are bad is spared until one of them is good again.

use std::time::Duration;

use crate::client::{complete, metric};
use crate::fleet::{gateway, within};
use crate::worker::{Act, Worker};

const OK: &str = r#"{"choices":[]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_fails_fast_draws_nothing_until_a_single_request_finds_it_well() {
    let (one, two) = (Worker::start(Act::status(500, "no")).await, Worker::start(Act::json(OK)).await);
    let gateway = gateway(&[&one, &two]).await;
    let (address, state) =
        (gateway.address(), format!("warmroute_worker_circuit_state{{worker=\"{}\"}}", one.address));
    for _ in 0..20 {
        assert_eq!(complete(address).await.status, 200);
    }
    assert_eq!(one.seen().len(), 5, "after so many in a row it is spared");
    assert_eq!(metric(address, &state).await, 2.0);

    one.act(Act::json(OK));
    within(async {
        while metric(address, &state).await != 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..4 {
        assert_eq!(complete(address).await.status, 200);
    }
    assert_eq!(metric(address, &state).await, 0.0);
    assert_eq!(one.seen().len(), 7, "it has its turns again");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_workers_fail_they_are_asked_all_the_same() {
    let workers = [Worker::start(Act::status(500, "no")).await, Worker::start(Act::status(500, "no")).await];
    let gateway = gateway(&workers.each_ref()).await;
    for _ in 0..12 {
        assert_eq!(complete(gateway.address()).await.status, 500, "the worker's own words");
    }
    workers[0].act(Act::json(OK));
    let recovered = async { while complete(gateway.address()).await.status != 200 {} };
    // Far below the pause of a breaker that nobody would ask.
    tokio::time::timeout(Duration::from_millis(900), recovered).await.expect("it is asked at once");
    assert_eq!(gateway.in_flight(), 0);
}
