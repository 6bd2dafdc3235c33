//! Shutting down: what runs may end, nothing new begins, and nothing runs for ever.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use warmroute_gateway::Millis;

use crate::client::{PROMPT, complete, complete_coming, get};
use crate::fleet::{gateway, gateway_with, until, within};
use crate::worker::{Act, End, Worker};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_stream_ends_as_it_should_while_new_connections_are_refused() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await;
    let gateway = gateway(&[&worker]).await;
    let address = gateway.address();
    let mut coming = complete_coming(address).await;
    assert_eq!(coming.piece().await, "data: 1\n\n");

    let outside = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        worker.go_on();
        coming.whole().await
    };
    let ((), rest) = within(async { tokio::join!(gateway.shutdown(), outside) }).await;
    assert!(rest.clean, "the stream came to its own end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlives_the_grace_period_is_cut() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await;
    let gateway = gateway_with(&[&worker], |config| config.drain_grace_ms = Millis(20)).await;
    let mut coming = complete_coming(gateway.address()).await;
    coming.piece().await;
    within(gateway.shutdown()).await;
    assert!(!coming.whole().await.clean);
    within(worker.cancelled()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_turns_before_the_listener_closes() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway_with(&[&worker], |config| config.drain_delay_ms = Millis(3_600_000)).await;
    let address = gateway.address();
    assert_eq!(get(address, "/readyz").await.status, 200);
    let not_ready = async {
        while get(address, "/readyz").await.status != 503 {}
        assert_eq!(get(address, "/livez").await.status, 200);
    };
    within(async {
        tokio::select! { () = gateway.shutdown() => panic!("too early"), () = not_ready => {} }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_say_that_the_connection_closes_while_a_gateway_drains() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway_with(&[&worker], |config| config.drain_delay_ms = Millis(3_600_000)).await;
    let address = gateway.address();
    assert_eq!(complete(address).await.header("connection"), "(missing)");
    let said = async { while complete(address).await.header("connection") != "close" {} };
    within(async {
        tokio::select! { () = gateway.shutdown() => panic!("too early"), () = said => {} }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_dropped_is_gone_at_once() {
    let worker = Worker::start(Act::Hang).await;
    let gateway = gateway(&[&worker]).await;
    let address = gateway.address();
    let client = crate::client::bare_request(address).await;
    until(|| worker.seen().len() == 1).await;
    drop(gateway);
    within(worker.cancelled()).await;
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_connected_before_a_drain_and_asks_during_it_is_answered() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway(&[&worker]).await;
    let address = gateway.address();
    let mut early = TcpStream::connect(address).await.unwrap();
    // The listen queue is in order: once this one is answered, the one before was accepted.
    complete(address).await;

    let outside = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let asked =
            format!("POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: {}\r\n\r\n", PROMPT.len());
        early.write_all(format!("{asked}{PROMPT}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        early.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let ((), answer) = within(async { tokio::join!(gateway.shutdown(), outside) }).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
}
