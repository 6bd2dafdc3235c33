//! The admin API: what it shows is so, and what it changes happens, with no request disturbed.

use std::net::SocketAddr;

use serde_json::{Value, json};
use warmroute_gateway::RunningGateway;
use warmroute_routing::policy::POLICIES;

use crate::client::{Answer, complete, complete_coming, get, post, request, send};
use crate::fleet::{gateway_with, within};
use crate::worker::{Act, End, Worker};

async fn administered(workers: &[&Worker]) -> (RunningGateway, SocketAddr) {
    let gateway = gateway_with(workers, |config| config.set("admin_listen", "127.0.0.1:0").unwrap()).await;
    let admin = gateway.admin_address().unwrap();
    (gateway, admin)
}

async fn ask(to: SocketAddr, method: &str, path: &str, body: Value) -> Answer {
    send(to, request(method, path, body.to_string())).await.whole().await
}

fn code(answer: &Answer) -> Value {
    let error = &answer.json()["error"];
    assert!(error["message"].as_str().unwrap().contains("hint: "), "{error}");
    error["code"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_added_drained_and_removed() {
    let (one, two) = (Worker::start(Act::json("{}")).await, Worker::start(Act::json("{}")).await);
    let (gateway, admin) = administered(&[&one]).await;
    let added = ask(admin, "POST", "/workers", json!({"url": two.url()})).await;
    assert_eq!((added.status.as_u16(), &added.json()["origins"]), (201, &json!(["api"])));
    within(gateway.workers_up(2)).await;
    let again = ask(admin, "POST", "/workers", json!({"url": two.url()})).await;
    assert_eq!((again.status.as_u16(), code(&again)), (409, json!("worker_exists")));

    let drained = ask(admin, "PATCH", "/workers/0", json!({"draining": true})).await;
    assert_eq!((drained.status.as_u16(), &drained.json()["state"]), (200, &json!("draining")));
    for _ in 0..3 {
        assert_eq!(complete(gateway.address()).await.status, 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (0, 3));
    ask(admin, "PATCH", "/workers/0", json!({"draining": false})).await;
    for _ in 0..2 {
        complete(gateway.address()).await;
    }
    assert_eq!(one.seen().len() + two.seen().len(), 5);
    assert!(!one.seen().is_empty(), "it takes requests again");

    let by_name = format!("/workers/{}", two.address);
    assert_eq!(ask(admin, "DELETE", &by_name, json!({})).await.status, 202);
    within(gateway.workers_left(1)).await;
    let missing = get(admin, &by_name).await;
    assert_eq!((missing.status.as_u16(), code(&missing)), (404, json!("worker_not_found")));
    assert_eq!(get(admin, "/workers").await.json()["workers"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_changes_while_answers_are_under_way() {
    let (one, two) =
        (Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await, Worker::start(Act::json("{}")).await);
    let (gateway, admin) = administered(&[&one, &two]).await;
    let mut coming = complete_coming(gateway.address()).await;
    coming.piece().await;
    let told = ask(admin, "PUT", "/policy", json!({"policy": "least_loaded"})).await;
    assert_eq!((told.status.as_u16(), &told.json()["policy"]), (200, &json!("least_loaded")));
    let answer = complete(gateway.address()).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-warmroute-policy")), (200, "least_loaded"));
    one.go_on();
    assert!(within(coming.whole()).await.clean);
    gateway.reload().unwrap();
    assert_eq!(
        get(admin, "/policy").await.json()["policy"],
        "least_loaded",
        "a reload of the same settings keeps it"
    );
    let bad = ask(admin, "PUT", "/policy", json!({"policy": "least_laoded"})).await;
    assert_eq!((bad.status.as_u16(), code(&bad)), (400, json!("unknown_policy")));
    assert!(bad.text().contains("did you mean least_loaded?"), "{}", bad.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_says_where_the_next_request_goes_and_sends_nothing() {
    let workers = [Worker::start(Act::json("{}")).await, Worker::start(Act::json("{}")).await];
    let (gateway, admin) = administered(&workers.each_ref()).await;
    gateway_policy(admin, "cache_aware").await;
    let body = json!({"model": "m", "prompt": "bicycles ".repeat(200)});
    let first = post(gateway.address(), "/v1/completions", body.to_string()).await;
    let told = ask(admin, "POST", "/explain", body).await.json();
    assert_eq!(told["worker"], first.header("x-warmroute-worker"));
    assert_eq!((&told["reason"], &told["path"]), (&json!("prefix"), &json!("/v1/completions")));
    let candidates = told["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 2);
    let overlaps = candidates.iter().filter(|one| one["overlap_tokens"].as_u64().unwrap() > 200).count();
    assert_eq!(overlaps, 1, "{told:#}");
    assert_eq!(workers.iter().map(|worker| worker.seen().len()).sum::<usize>(), 1, "nothing was sent");
    let bad = ask(admin, "POST", "/explain?path=/health", json!({})).await;
    assert_eq!((bad.status.as_u16(), code(&bad)), (404, json!("unknown_url")));
}

async fn gateway_policy(admin: SocketAddr, policy: &str) {
    assert_eq!(ask(admin, "PUT", "/policy", json!({"policy": policy})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_decisions_are_shown_newest_first() {
    let worker = Worker::start(Act::json(
        r#"{"usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}"#,
    ))
    .await;
    let (gateway, admin) = administered(&[&worker]).await;
    for id in ["a", "b"] {
        let mut asked = request("POST", "/v1/completions", crate::client::PROMPT);
        asked.headers_mut().insert("x-request-id", id.parse().unwrap());
        send(gateway.address(), asked).await.whole().await;
    }
    let told = get(admin, "/decisions").await.json();
    let ids: Vec<_> = told["decisions"].as_array().unwrap().iter().map(|one| &one["request_id"]).collect();
    assert_eq!(ids, ["b", "a"]);
    let one = get(admin, "/decisions?request_id=a").await.json()["decisions"][0].clone();
    assert_eq!(one["worker"], worker.address.to_string());
    assert_eq!((&one["status"], &one["model"], &one["reason"]), (&json!(200), &json!("m"), &json!("only")));
    assert_eq!(
        (&one["prompt_tokens"], &one["cached_tokens"], &one["output_tokens"]),
        (&json!(9), &json!(4), &json!(3))
    );
    let bad = get(admin, "/decisions?status=ok").await;
    assert_eq!((bad.status.as_u16(), code(&bad)), (400, json!("invalid_query")));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_of_the_document_is_served_and_none_of_them_to_clients() {
    let worker = Worker::start(Act::json("{}")).await;
    let (gateway, admin) = administered(&[&worker]).await;
    let document = get(admin, "/openapi.json").await.json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "0");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if path == "/workers/0" && method == "DELETE" {
                continue; // it would take effect
            }
            // What other gateways read has no end.
            let status = send(admin, request(method, &path, "{}")).await.status.as_u16();
            let documented = methods.get(method.to_lowercase()).is_some();
            assert_eq!(status != 405, documented, "{method} {path}: {status}");
        }
        if path != "/metrics" {
            let asked = get(gateway.address(), &path).await;
            let answered_by = asked.header("x-warmroute-worker");
            assert_eq!(answered_by, worker.address.to_string(), "{path} is a worker's affair");
        }
    }
    let lost = get(admin, "/worker").await;
    assert_eq!((lost.status.as_u16(), code(&lost)), (404, json!("unknown_url")));
    let mut page = request("POST", "/reload", "");
    page.headers_mut().insert("origin", "http://evil.example".parse().unwrap());
    let refused = send(admin, page).await.whole().await;
    assert_eq!((refused.status.as_u16(), code(&refused)), (403, json!("browser_refused")));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_policies_change_and_workers_drain_and_come_back() {
    let workers = [
        Worker::start(Act::json("{}")).await,
        Worker::start(Act::json("{}")).await,
        Worker::start(Act::json("{}")).await,
    ];
    let (gateway, admin) = administered(&workers.each_ref()).await;
    let load = async || {
        for _ in 0..300 {
            assert_eq!(complete(gateway.address()).await.status, 200);
        }
    };
    let change = async {
        for round in 0.. {
            gateway_policy(admin, POLICIES[round % POLICIES.len()].name).await;
            let worker = format!("/workers/{}", round % workers.len());
            for draining in [true, false] {
                assert_eq!(ask(admin, "PATCH", &worker, json!({ "draining": draining })).await.status, 200);
            }
        }
    };
    within(async {
        tokio::select! {
            ((), (), ()) = async { tokio::join!(load(), load(), load()) } => {}
            () = change => {}
        }
    })
    .await;
    assert_eq!(gateway.in_flight(), 0);
}
