//! Clients that walk away: the worker is told by a closed connection, and the books are closed.

use crate::client::{bare_request, metric, read_until};
use crate::fleet::{gateway, until, within};
use crate::worker::{Act, End, Worker};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_first_byte_cancels_the_work() {
    let worker = Worker::start(Act::Hang).await;
    let gateway = gateway(&[&worker]).await;
    let client = bare_request(gateway.address()).await;
    until(|| worker.seen().len() == 1).await;
    assert_eq!(gateway.in_flight(), 1);

    drop(client);

    within(worker.cancelled()).await;
    until(|| gateway.in_flight() == 0).await;
    assert_eq!(metric(gateway.address(), "warmroute_client_disconnects_total").await, 1.0);
    assert_eq!(worker.seen().len(), 1, "a client that left is no reason to retry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_mid_stream_cancels_the_work() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await;
    let gateway = gateway(&[&worker]).await;
    let mut client = bare_request(gateway.address()).await;
    read_until(&mut client, "data: 1").await;
    assert_eq!(gateway.in_flight(), 1);

    drop(client);

    within(worker.cancelled()).await;
    until(|| gateway.in_flight() == 0).await;
    let gone = format!(
        "warmroute_requests_total{{worker=\"{}\",policy=\"round_robin\",code=\"499\"}}",
        worker.address
    );
    assert_eq!(metric(gateway.address(), &gone).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_that_leave_at_any_point_leave_nothing_behind() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n", "data: 2\n\n"], End::Wait)).await;
    let gateway = gateway(&[&worker]).await;
    for turn in 0..50 {
        let mut client = bare_request(gateway.address()).await;
        if turn % 3 == 1 {
            until(|| worker.seen().len() > turn / 2).await;
        } else if turn % 3 == 2 {
            read_until(&mut client, "data: 1").await;
        }
    }
    until(|| gateway.in_flight() == 0).await;
}
