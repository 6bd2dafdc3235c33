//! A worker whose answers are bad is spared until one of them is good again.

use std::time::Duration;

use warmroute_gateway::{Millis, RunningGateway};

use crate::client::{complete, metric};
use crate::fleet::{gateway, gateway_with, until, within};
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
async fn a_worker_that_names_a_model_is_tried_out_at_no_clients_expense() {
    let models = r#"{"object":"list","data":[{"id":"m"}]}"#;
    let (one, two) = (Worker::describing(models, "").await, Worker::start(Act::json(OK)).await);
    one.act(Act::Hang);
    let gateway = gateway_with(&[&one, &two], |config| {
        config.first_byte_timeout_ms = Millis(50);
        config.probe_timeout_ms = Millis(50);
    })
    .await;
    let asked = |tokens: &str| {
        let seen = one.seen();
        seen.iter().filter(|seen| String::from_utf8_lossy(&seen.body).contains(tokens)).count()
    };
    let ours = "\"max_tokens\":1,";
    for _ in 0..2 {
        assert_eq!(complete(gateway.address()).await.status, 200);
    }
    until(|| asked(ours) == 1).await;
    for _ in 0..4 {
        assert_eq!(complete(gateway.address()).await.status, 200);
    }
    assert_eq!(
        asked("") - asked(ours),
        1,
        "once a request has waited in vain only our own tokens are asked for"
    );

    one.act(Act::json(OK));
    until(|| asked(ours) > 5).await;
    within(async {
        while circuit(&gateway, &one).await != 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..4 {
        assert_eq!(complete(gateway.address()).await.status, 200);
    }
    assert_eq!(asked("") - asked(ours), 1 + 2, "it has its turns again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_fails_now_and_then_is_spared_where_others_do_well() {
    let workers = [Worker::start(Act::json(OK)).await, Worker::start(Act::json(OK)).await];
    let gateway = gateway(&workers.each_ref()).await;
    for _ in 0..12 {
        for act in [Act::json(OK), Act::json(OK), Act::status(500, "no")] {
            workers[0].act(act);
            assert_eq!(complete(gateway.address()).await.status, 200);
            assert_eq!(complete(gateway.address()).await.status, 200);
        }
    }
    let failed = circuit(&gateway, &workers[0]).await;
    assert_eq!(failed, 2.0, "one in three is no half, but the other worker fails never");
    assert!(workers[0].seen().len() < 30, "{}", workers[0].seen().len());
}

async fn circuit(gateway: &RunningGateway, worker: &Worker) -> f64 {
    let state = format!("warmroute_worker_circuit_state{{worker=\"{}\"}}", worker.address);
    metric(gateway.address(), &state).await
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
