//! Workers go out and come back, and the gateway says so.

use serde_json::json;
use warmroute_gateway::{Millis, start};

use crate::client::{complete, get, metric};
use crate::fleet::{gateway, gateway_with, settings, within};
use crate::worker::{Act, Worker};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_worker_is_taken_out_and_brought_back() {
    let (one, two) = (Worker::start(Act::json("{}")).await, Worker::start(Act::json("{}")).await);
    let gateway = gateway_with(&[&one, &two], |config| config.probe_interval_ms = Millis(5)).await;
    let address = one.kill();
    within(gateway.workers_down_to(1)).await;
    assert_eq!(get(gateway.address(), "/health").await.status, 200, "one is left");
    let up = format!("warmroute_worker_up{{worker=\"{address}\"}}");
    assert_eq!(metric(gateway.address(), &up).await, 0.0);

    let back = Worker::start_at(address, Act::json("{}")).await;
    within(gateway.workers_up(2)).await;
    assert_eq!(metric(gateway.address(), &up).await, 1.0);
    for _ in 0..2 {
        complete(gateway.address()).await;
    }
    assert_eq!((back.seen().len(), two.seen().len()), (1, 1), "it takes its turn again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_fails_its_probes_is_taken_out_though_it_answers() {
    let (one, two) = (Worker::start(Act::json("{}")).await, Worker::start(Act::json("{}")).await);
    let gateway = gateway_with(&[&one, &two], |config| config.probe_interval_ms = Millis(5)).await;
    one.health(503);
    within(gateway.workers_down_to(1)).await;
    complete(gateway.address()).await;
    complete(gateway.address()).await;
    assert_eq!((one.seen().len(), two.seen().len()), (0, 2));
    one.health(200);
    within(gateway.workers_up(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_start_up_wait_for_the_first_probes_and_are_not_refused() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = start(settings(&[worker.url()])).await.unwrap();
    assert_eq!(
        complete(gateway.address()).await.status,
        200,
        "asked before anybody could know that the worker is there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_worker_up_requests_get_503_and_a_time_to_come_back() {
    let address = Worker::start(Act::Close).await.kill();
    let gateway = start(settings(&[format!("http://{address}")])).await.unwrap();
    let answer = complete(gateway.address()).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["error"]["code"], "no_worker");
    assert_eq!((answer.header("retry-after"), answer.header("x-should-retry")), ("1", "(missing)"));
    for path in ["/health", "/readyz"] {
        assert_eq!(get(gateway.address(), path).await.status, 503, "{path}");
    }
    assert_eq!(get(gateway.address(), "/livez").await.status, 200, "restarting the gateway would not help");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_models_tell_what_the_workers_said() {
    let metrics = "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"100\"} 1.0\n";
    let one =
        Worker::describing(r#"{"object":"list","data":[{"id":"a","max_model_len":7},{"id":"b"}]}"#, metrics)
            .await;
    let two = Worker::describing(r#"{"object":"list","data":[{"id":"b","x":1},{"id":"c"}]}"#, "").await;
    let gateway = gateway(&[&one, &two]).await;
    let models = get(gateway.address(), "/v1/models").await.json();
    assert_eq!(
        models,
        json!({"object": "list", "data": [{"id": "a", "max_model_len": 7}, {"id": "b"}, {"id": "c"}]})
    );
    let told = |worker: &Worker, tokens, models| {
        let name = worker.address.to_string();
        let (state, circuit) = ("up", "closed");
        json!({"worker": name, "state": state, "circuit": circuit, "in_flight": 0, "kv_cache_tokens": tokens, "models": models})
    };
    let health = get(gateway.address(), "/health").await.json();
    let workers = [told(&one, json!(1600), json!(["a", "b"])), told(&two, json!(null), json!(["b", "c"]))];
    assert_eq!(health, json!({"status": "ok", "workers": workers}));
    assert_eq!(get(gateway.address(), "/readyz").await.status, 200);
}
