//! Workers that are spoken to in HTTP/2: many requests on one connection, each with an end of its own.

use futures_util::future::join_all;
use http::Version;
use warmroute_gateway::{GatewayConfig, RunningGateway};

use crate::client::{bare_request, complete, complete_coming, post, read_until};
use crate::fleet::{gateway_with, until, within};
use crate::worker::{Act, End, Worker};

async fn gateway(worker: &Worker) -> RunningGateway {
    let url = worker.url().replace("http://", "h2c://");
    gateway_with(&[worker], |config: &mut GatewayConfig| {
        config.workers = vec![url.parse().unwrap()];
        // One pool of connections.
        config.threads = 1;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_a_connection_and_what_passes_is_what_passes_over_http_1() {
    let worker = Worker::start(Act::json("{\"choices\":[]}")).await;
    let gateway = gateway(&worker).await;
    let probes = worker.connections();
    for answer in join_all((0..50).map(|_| complete(gateway.address()))).await {
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "{\"choices\":[]}"));
        assert_eq!(answer.header("x-warmroute-worker"), worker.address.to_string());
    }
    assert_eq!(worker.connections(), probes + 1);
    let seen = worker.seen();
    assert!(seen.iter().all(|seen| seen.version == Version::HTTP_2 && seen.body == crate::client::PROMPT));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_connection_takes_open_another() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await;
    let gateway = gateway(&worker).await;
    let probes = worker.connections();
    let mut streams = join_all((0..150).map(|_| complete_coming(gateway.address()))).await;
    for stream in &mut streams {
        assert_eq!(stream.piece().await, "data: 1\n\n");
    }
    assert_eq!((gateway.in_flight(), worker.connections()), (150, probes + 2));
    drop(streams);
    for _ in 0..150 {
        within(worker.cancelled()).await;
    }
    until(|| gateway.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_resets_its_stream_before_and_after_the_first_byte() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await;
    let gateway = gateway(&worker).await;
    let mut other = complete_coming(gateway.address()).await;
    other.piece().await;

    let mut client = bare_request(gateway.address()).await;
    read_until(&mut client, "data: 1").await;
    drop(client);
    within(worker.cancelled()).await;

    worker.act(Act::Hang);
    let client = bare_request(gateway.address()).await;
    until(|| worker.seen().len() == 3).await;
    drop(client);
    within(worker.cancelled()).await;

    // The stream beside them goes on.
    until(|| gateway.in_flight() == 1).await;
    worker.go_on();
    assert!(other.whole().await.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_ends_in_an_error_event_and_a_cut() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n"], End::Die)).await;
    let gateway = gateway(&worker).await;
    let answer = complete_coming(gateway.address()).await.whole().await;
    assert!(!answer.clean && answer.text().starts_with("data: 1\n\ndata: {\"error\""), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_gone_is_told_as_any_other() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway(&worker).await;
    assert_eq!(complete(gateway.address()).await.status, 200);
    worker.kill();
    within(gateway.workers_down_to(1)).await;
    let answer = complete(gateway.address()).await;
    assert!([502, 503].contains(&answer.status.as_u16()), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_passes_as_it_comes_and_a_stalled_client_stops_the_worker() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway(&worker).await;
    let speech = vec![b'x'; 4 << 20];
    assert_eq!(post(gateway.address(), "/v1/audio/transcriptions", speech.clone()).await.status, 200);
    assert!(worker.seen()[0].body == speech);

    worker.act(Act::stream(&["data: 1\n\n"], End::Never));
    let mut stalled = complete_coming(gateway.address()).await;
    stalled.piece().await;
    let taken = within(worker.stalled()).await;
    assert!(taken < 16 << 20, "{taken} bytes are between a worker and a client that does not read");
    // Nobody else is held up by it.
    worker.act(Act::json("{}"));
    assert_eq!(complete(gateway.address()).await.status, 200);
}
