//! Workers are added, drained and removed while requests are under way.

use warmroute_gateway::{RunningGateway, WorkerConfig};

use crate::client::{complete, complete_coming, get};
use crate::fleet::{gateway, within};
use crate::worker::{Act, End, Worker};

fn config(worker: &Worker) -> WorkerConfig {
    worker.url().parse().unwrap()
}

async fn shown(gateway: &RunningGateway) -> usize {
    get(gateway.address(), "/health").await.json()["workers"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_worker_ends_its_last_request_and_only_then_is_gone() {
    let (one, two) =
        (Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await, Worker::start(Act::json("{}")).await);
    let gateway = gateway(&[&one, &two]).await;
    let mut coming = complete_coming(gateway.address()).await;
    assert_eq!(coming.piece().await, "data: 1\n\n");
    assert!(gateway.remove_worker(&config(&one)));

    for _ in 0..4 {
        let answer = complete(gateway.address()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!((one.seen().len(), two.seen().len()), (1, 4), "it gets nothing new");
    assert_eq!(shown(&gateway).await, 2, "its request is still under way");

    one.go_on();
    assert!(within(coming.whole()).await.clean, "which comes to its own end");
    within(gateway.workers_left(1)).await;
    let metrics = get(gateway.address(), "/metrics").await;
    let gauge = format!("worker_up{{worker=\"{}\"}}", one.address);
    assert!(!metrics.text().contains(&gauge), "its gauges are gone with it");
    assert!(!gateway.remove_worker(&config(&one)), "and nobody is there to be removed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_added_takes_its_turn_and_one_that_comes_back_is_a_new_one() {
    let (one, two) = (Worker::start(Act::json("{}")).await, Worker::start(Act::json("{}")).await);
    let gateway = gateway(&[&one]).await;
    assert!(gateway.add_worker(&config(&two)));
    assert!(!gateway.add_worker(&config(&two)), "it is there already");
    within(gateway.workers_up(2)).await;
    for _ in 0..4 {
        complete(gateway.address()).await;
    }
    assert_eq!((one.seen().len(), two.seen().len()), (2, 2));

    assert!(gateway.remove_worker(&config(&one)));
    within(gateway.workers_left(1)).await;
    assert!(gateway.add_worker(&config(&one)));
    within(gateway.workers_up(2)).await;
    for _ in 0..4 {
        complete(gateway.address()).await;
    }
    assert_eq!((one.seen().len(), two.seen().len()), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_workers_come_and_go() {
    let workers = [
        Worker::start(Act::json("{}")).await,
        Worker::start(Act::json("{}")).await,
        Worker::start(Act::json("{}")).await,
    ];
    let gateway = gateway(&workers.each_ref()).await;
    let load = async {
        for _ in 0..300 {
            let answer = complete(gateway.address()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    };
    let change = async {
        for round in 0.. {
            let goes = config(&workers[round % 3]);
            assert!(gateway.remove_worker(&goes));
            gateway.workers_left(2).await;
            assert!(gateway.add_worker(&goes));
            gateway.workers_up(3).await;
        }
    };
    within(async {
        tokio::select! {
            ((), (), ()) = async { tokio::join!(load, clients(&gateway), clients(&gateway)) } => {}
            () = change => {}
        }
    })
    .await;
    assert_eq!(gateway.in_flight(), 0);
}

async fn clients(gateway: &RunningGateway) {
    for _ in 0..300 {
        let answer = complete(gateway.address()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
