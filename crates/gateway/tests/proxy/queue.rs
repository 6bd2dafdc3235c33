//! When every worker is full, requests wait in the gateway.

use http::{HeaderMap, HeaderValue};
use warmroute_gateway::{GatewayConfig, Millis};

use crate::client::{bare_request, complete, complete_with, metric};
use crate::fleet::{gateway_with, until, within};
use crate::worker::{Act, End, Worker};

const OK: &str = r#"{"choices":[]}"#;

/// One request at a time on each worker.
fn one_seat(config: &mut GatewayConfig) {
    config.set("max_in_flight", "1").unwrap();
}

/// An answer whose end the test decides.
fn held() -> Act {
    Act::Answer {
        status: 200,
        headers: vec![("content-type", "application/json")],
        pieces: vec![OK],
        end: End::Wait,
    }
}

async fn depth(gateway: std::net::SocketAddr, count: f64) {
    within(async {
        while metric(gateway, "warmroute_queue_depth").await != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_a_seat_and_gets_it() {
    let worker = Worker::start(held()).await;
    let gateway = gateway_with(&[&worker], one_seat).await;
    let address = gateway.address();
    let go_on = async {
        depth(address, 1.0).await;
        until(|| !worker.seen().is_empty()).await;
        assert_eq!(worker.seen().len(), 1, "the second is not sent before the first has ended");
        worker.act(Act::json(OK));
        worker.go_on();
    };
    let (one, two, ()) = within(async { tokio::join!(complete(address), complete(address), go_on) }).await;
    assert_eq!((one.text(), two.text()), (OK, OK));
    assert_eq!(metric(address, "warmroute_queue_wait_seconds_count").await, 1.0);
    assert_eq!(gateway.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_and_past_the_deadline_it_is_429_with_retry_after() {
    let worker = Worker::start(held()).await;
    let gateway = gateway_with(&[&worker], |config| {
        one_seat(config);
        config.queue_limit = 1;
        config.queue_timeout_ms = Millis(200);
    })
    .await;
    let address = gateway.address();
    let _held = bare_request(address).await;
    until(|| worker.seen().len() == 1).await;
    let crowded = async {
        depth(address, 1.0).await;
        complete(address).await
    };
    let (late, crowded) = within(async { tokio::join!(complete(address), crowded) }).await;
    for (answer, code) in [(late, "queue_timeout"), (crowded, "overloaded")] {
        assert_eq!((answer.status.as_u16(), answer.header("x-warmroute-error-code")), (429, code));
        let wait: u32 = answer.header("retry-after").parse().unwrap();
        assert!((1..=61).contains(&wait), "{wait}");
    }
    for cause in ["full", "deadline"] {
        let line = format!("warmroute_queue_rejections_total{{cause=\"{cause}\"}}");
        assert_eq!(metric(address, &line).await, 1.0, "{cause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_leaves_the_queue() {
    let worker = Worker::start(held()).await;
    let gateway = gateway_with(&[&worker], one_seat).await;
    let _held = bare_request(gateway.address()).await;
    until(|| worker.seen().len() == 1).await;
    let waiting = bare_request(gateway.address()).await;
    depth(gateway.address(), 1.0).await;
    drop(waiting);
    depth(gateway.address(), 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_more_urgent_goes_first() {
    let worker = Worker::start(held()).await;
    let gateway = gateway_with(&[&worker], one_seat).await;
    let address = gateway.address();
    let with = |level: &'static str| {
        HeaderMap::from_iter([("x-warmroute-priority".parse().unwrap(), HeaderValue::from_static(level))])
    };
    let held = bare_request(address).await;
    until(|| worker.seen().len() == 1).await;
    let low = async {
        let answer = complete_with(address, with("-1")).await;
        (answer, worker.seen().len())
    };
    let high = async {
        depth(address, 1.0).await;
        let answer = complete_with(address, with("1"));
        let go_on = async {
            depth(address, 2.0).await;
            worker.act(Act::json(OK));
            worker.go_on();
        };
        let (answer, ()) = tokio::join!(answer, go_on);
        answer
    };
    let ((low, _), high) = within(async { tokio::join!(low, high) }).await;
    assert_eq!((low.status.as_u16(), high.status.as_u16()), (200, 200));
    let levels: Vec<String> = worker.seen()[1..]
        .iter()
        .map(|seen| seen.headers["x-warmroute-priority"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(levels, ["1", "-1"]);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_refuses_teaches_how_many_it_takes_and_another_takes_the_request() {
    let (one, two) = (Worker::start(Act::status(429, "full")).await, Worker::start(Act::json(OK)).await);
    let gateway = gateway_with(&[&one, &two], |_| {}).await;
    for _ in 0..2 {
        let answer = complete(gateway.address()).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, OK));
    }
    let seats = format!("warmroute_worker_seats{{worker=\"{}\"}}", one.address);
    assert_eq!(metric(gateway.address(), &seats).await, 1.0);
    let retries = metric(gateway.address(), "warmroute_retries_total{cause=\"full\"}").await;
    assert!(retries >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_refuses_with_nothing_to_do_is_heard() {
    let worker = Worker::start(Act::status(429, "quota")).await;
    let gateway = gateway_with(&[&worker], |_| {}).await;
    let answer = within(complete(gateway.address())).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (429, "quota"));
    assert_eq!(gateway.in_flight(), 0);
}
