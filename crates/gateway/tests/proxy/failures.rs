//! What becomes of requests when workers fail, before and after the first byte.

use warmroute_gateway::Millis;

use crate::client::{complete, metric};
use crate::fleet::{gateway, gateway_with, until, within};
use crate::worker::{Act, End, Worker};

const OK: &str = r#"{"choices":[]}"#;
const SSE_HEAD: [(&str, &str); 1] = [("content-type", "text/event-stream")];

/// Under round robin at least one of two requests goes to `one` first.
async fn both_are_answered(one: &Worker, two: &Worker, cause: &str) {
    let gateway = gateway(&[one, two]).await;
    let answers = [complete(gateway.address()).await, complete(gateway.address()).await];
    let mut moved = 0.0;
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), answer.text()), (200, OK));
        assert_eq!(answer.header("x-warmroute-worker"), two.address.to_string());
        if answer.header("x-warmroute-attempts") == "2" {
            moved += 1.0;
            assert_eq!(answer.header("x-warmroute-reason"), "fallback");
        }
    }
    assert!(moved > 0.0, "nobody was sent to the failing worker: {answers:?}");
    assert_eq!(
        metric(gateway.address(), &format!("warmroute_retries_total{{cause=\"{cause}\"}}")).await,
        moved
    );
    assert_eq!(gateway.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_before_the_head_is_retried_elsewhere() {
    let (one, two) = (Worker::start(Act::Close).await, Worker::start(Act::json(OK)).await);
    both_are_answered(&one, &two, "broken").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_between_head_and_first_byte_is_retried_elsewhere() {
    let dying = Act::Answer { status: 200, headers: SSE_HEAD.to_vec(), pieces: vec![], end: End::Die };
    let (one, two) = (Worker::start(dying).await, Worker::start(Act::json(OK)).await);
    both_are_answered(&one, &two, "broken").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_says_503_or_502_is_passed_over() {
    for status in [502, 503] {
        let (one, two) =
            (Worker::start(Act::status(status, "busy")).await, Worker::start(Act::json(OK)).await);
        both_are_answered(&one, &two, "unavailable").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_be_reached_is_passed_over_and_taken_out_at_once() {
    let (one, two) = (Worker::start(Act::json(OK)).await, Worker::start(Act::json(OK)).await);
    let gateway = gateway(&[&one, &two]).await;
    let _ = one.kill();
    for _ in 0..4 {
        assert_eq!(complete(gateway.address()).await.status, 200);
    }
    within(gateway.workers_down_to(1)).await;
    assert_eq!(
        metric(gateway.address(), "warmroute_retries_total{cause=\"unreachable\"}").await,
        1.0,
        "only once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_after_its_first_byte_ends_in_an_error_event_and_a_cut() {
    let dying = Act::stream(&["data: {\"a\":1}\n\n"], End::Die);
    let (one, two) = (Worker::start(dying.clone()).await, Worker::start(dying).await);
    let gateway = gateway(&[&one, &two]).await;

    let answer = complete(gateway.address()).await;

    assert_eq!(answer.status, 200);
    assert!(!answer.clean, "a clean end would be taken for success");
    let rest = answer.text().strip_prefix("data: {\"a\":1}\n\n").expect("what was there is passed on");
    let event = rest
        .strip_prefix("data: ")
        .and_then(|rest| rest.strip_suffix("\n\n"))
        .expect("then comes one whole event");
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["error"]["code"], "worker_lost", "{event}");
    assert_eq!(event["error"]["type"], "upstream_error", "{event}");
    assert_eq!(one.seen().len() + two.seen().len(), 1, "a retry never follows the first byte");
    assert_eq!(gateway.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_cut_in_its_middle_is_ended_before_the_error_event() {
    let worker = Worker::start(Act::stream(&["data: {\"a\":"], End::Die)).await;
    let gateway = gateway(&[&worker]).await;
    let answer = complete(gateway.address()).await;
    assert!(answer.text().starts_with("data: {\"a\":\n\ndata: {\"error\":"), "{}", answer.text());
    assert!(!answer.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_that_breaks_off_is_cut_and_not_retried() {
    let dying = Act::Answer {
        status: 200,
        headers: vec![("content-type", "application/json")],
        pieces: vec!["{\"a\":"],
        end: End::Die,
    };
    let worker = Worker::start(dying).await;
    let gateway = gateway(&[&worker]).await;
    let answer = complete(gateway.address()).await;
    assert_eq!((answer.text(), answer.clean), ("{\"a\":", false));
    assert_eq!(worker.seen().len(), 1);
    let code = format!(
        "warmroute_requests_total{{worker=\"{}\",policy=\"round_robin\",code=\"502\"}}",
        worker.address
    );
    assert_eq!(metric(gateway.address(), &code).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_worker_is_tried_at_most_once_and_then_the_client_is_told_not_to_try_again() {
    let workers =
        [Worker::start(Act::Close).await, Worker::start(Act::Close).await, Worker::start(Act::Close).await];
    let gateway = gateway(&workers.each_ref()).await;
    let answer = complete(gateway.address()).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["error"]["code"], "worker_lost");
    assert_eq!(answer.header("x-warmroute-error-code"), "worker_lost");
    assert_eq!(answer.header("x-should-retry"), "false");
    assert_eq!(answer.header("x-warmroute-attempts"), "3");
    assert_eq!(workers.each_ref().map(|worker| worker.seen().len()), [1, 1, 1]);
    assert_eq!(gateway.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_bounded() {
    let workers =
        [Worker::start(Act::Close).await, Worker::start(Act::Close).await, Worker::start(Act::Close).await];
    let gateway = gateway_with(&workers.each_ref(), |config| config.max_attempts = 2).await;
    assert_eq!(complete(gateway.address()).await.header("x-warmroute-attempts"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_workers_own_503_reaches_the_client() {
    let (one, two) =
        (Worker::start(Act::status(503, "busy")).await, Worker::start(Act::status(503, "busy")).await);
    let gateway = gateway(&[&one, &two]).await;
    let answer = complete(gateway.address()).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (503, "busy"));
    assert_eq!((answer.header("x-should-retry"), answer.header("x-warmroute-attempts")), ("false", "2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_never_begins_is_left_for_another_and_if_all_are_so_it_is_a_timeout() {
    let (one, two) = (Worker::start(Act::Hang).await, Worker::start(Act::Hang).await);
    let gateway = gateway_with(&[&one, &two], |config| config.first_byte_timeout_ms = Millis(50)).await;
    let answer = complete(gateway.address()).await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.json()["error"]["code"], "worker_timeout");
    within(one.cancelled()).await;
    within(two.cancelled()).await;
    assert_eq!((one.seen().len(), two.seen().len()), (1, 1), "nobody is asked twice");
    two.act(Act::json(OK));
    assert_eq!(complete(gateway.address()).await.status, 200);
    assert_eq!(gateway.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_internal_error_is_tried_elsewhere() {
    let (one, two) = (Worker::start(Act::status(500, "dead")).await, Worker::start(Act::json(OK)).await);
    both_are_answered(&one, &two, "failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_worker_is_tried_again_on_a_fresh_connection() {
    let worker = Worker::start(Act::Close).await;
    let gateway = gateway(&[&worker]).await;
    let mend = async {
        until(|| worker.seen().len() == 1).await;
        worker.act(Act::json(OK));
    };
    let (answer, ()) = within(async { tokio::join!(complete(gateway.address()), mend) }).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, OK));
    assert_eq!(answer.header("x-warmroute-attempts"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_longer_than_all_its_time_is_ended_before_or_in_the_middle_of_its_answer() {
    for (act, begun) in [(Act::Hang, false), (Act::stream(&["data: 1\n\n"], End::Wait), true)] {
        let worker = Worker::start(act).await;
        let gateway = gateway_with(&[&worker], |config| config.set("total_timeout_ms", "100").unwrap()).await;
        let answer = complete(gateway.address()).await;
        assert_eq!(answer.status, if begun { 200 } else { 504 });
        assert!(answer.text().contains("\"code\":\"deadline_exceeded\""), "{}", answer.text());
        assert_eq!(answer.clean, !begun);
        within(worker.cancelled()).await;
        assert_eq!(gateway.in_flight(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stalls_ends_in_an_error_event_and_a_cut() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await;
    let gateway = gateway_with(&[&worker], |config| config.idle_timeout_ms = Millis(50)).await;
    let answer = complete(gateway.address()).await;
    assert!(answer.text().contains("\"code\":\"worker_timeout\"") && !answer.clean, "{}", answer.text());
    within(worker.cancelled()).await;
    assert_eq!(gateway.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_on_a_worker_that_is_killed_are_all_answered_by_others() {
    let workers = [
        Worker::start(Act::Hang).await,
        Worker::start(Act::json(OK)).await,
        Worker::start(Act::json(OK)).await,
    ];
    let gateway = gateway(&workers.each_ref()).await;
    let address = gateway.address();
    let requests = futures_util::future::join_all((0..90).map(|_| complete(address)));
    let [victim, ..] = workers;
    let kill = async move {
        until(|| victim.seen().len() == 30).await;
        victim.kill();
    };
    let (answers, ()) = within(async { tokio::join!(requests, kill) }).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == OK));
    let moved = answers.iter().filter(|answer| answer.header("x-warmroute-attempts") == "2").count();
    assert_eq!(moved, 30, "those that waited on the victim, and no others");
    assert_eq!(gateway.in_flight(), 0);
}
