//! Several models in one fleet: who is asked for which, and what a client is told of the rest.

use warmroute_gateway::{AliasConfig, GatewayConfig};

use crate::client::{get, post};
use crate::errors::assert_shape;
use crate::fleet::{gateway, gateway_with};
use crate::worker::Worker;

const SMALL: &str = r#"{"data":[{"id":"small","max_model_len":4096},{"id":"small-lora","parent":"small"}]}"#;
const LARGE: &str = r#"{"data":[{"id":"org/large","max_model_len":32768}]}"#;
const LARGE_TOO: &str = r#"{"data":[{"id":"org/large","max_model_len":16384}]}"#;

async fn fleet() -> [Worker; 3] {
    [
        Worker::describing(SMALL, "").await,
        Worker::describing(LARGE, "").await,
        Worker::describing(LARGE_TOO, "").await,
    ]
}

fn aliases(config: &mut GatewayConfig) {
    let alias = |name: &str, model: &str| AliasConfig { name: name.to_owned(), model: model.to_owned() };
    config.aliases = vec![alias("gpt-4o", "org/large"), alias("lost", "nowhere")];
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_only_to_workers_that_serve_its_model_whatever_the_policy() {
    let [small, large, large_too] = fleet().await;
    for policy in ["cache_aware", "round_robin", "prefix_hash"] {
        let gateway =
            gateway_with(&[&small, &large, &large_too], |config| config.set("policy", policy).unwrap()).await;
        let to = gateway.address();
        for path in ["/v1/completions", "/v1/embeddings"] {
            for (model, servers) in [
                ("small", vec![&small]),
                ("small-lora", vec![&small]),
                ("org/large", vec![&large, &large_too]),
            ] {
                for _ in 0..4 {
                    let body = format!(r#"{{"prompt":"x","input":"x","model":"{model}"}}"#);
                    let answer = post(to, path, body).await;
                    let worker = answer.header("x-warmroute-worker");
                    assert!(
                        servers.iter().any(|server| server.address.to_string() == worker),
                        "{model} at {worker}"
                    );
                }
            }
        }
    }
    assert!(!large.seen().is_empty() && !large_too.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_is_404_with_the_nearest_name_and_no_worker_hears_of_it() {
    let [small, large, large_too] = fleet().await;
    let gateway = gateway_with(&[&small, &large, &large_too], aliases).await;
    let to = gateway.address();
    let answer = post(to, "/v1/chat/completions", r#"{"messages":[],"model":"org/larg"}"#).await;
    assert_shape(&answer, 404, "model_not_found");
    let message = answer.json()["error"]["message"].to_string();
    assert!(
        message.contains("did you mean 'org/large'? this server has org/large, small, small-lora, gpt-4o"),
        "{message}"
    );
    assert_shape(&get(to, "/v1/models/smal").await, 404, "model_not_found");
    assert_shape(&post(to, "/v1/completions", r#"{"prompt":"x"}"#).await, 400, "model_required");
    assert_shape(
        &post(to, "/v1/completions", r#"{"prompt":"x","model":"lost"}"#).await,
        404,
        "model_not_found",
    );
    assert!([&small, &large, &large_too].iter().all(|worker| worker.seen().is_empty()));
    assert_eq!(
        post(to, "/pooling", r#"{"model":"what?"}"#).await.status,
        200,
        "who knows what it means there"
    );
    assert_eq!(get(to, "/version").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_no_model_goes_to_the_only_one_there_is() {
    let worker = Worker::describing(SMALL, "").await;
    let gateway = gateway(&[&worker]).await;
    let body = r#"{"prompt":"x"}"#;
    assert_eq!(post(gateway.address(), "/v1/completions", body).await.status, 200);
    assert_eq!(worker.seen()[0].body, body, "and its body stays as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_spliced_into_the_body_and_nothing_else_moves() {
    let [small, large, large_too] = fleet().await;
    let gateway = gateway_with(&[&small, &large, &large_too], aliases).await;
    let to = gateway.address();
    let odd = |model: &str| {
        format!(
            "{{\"x\":1.0e2, \"prompt\":\"gpt-4o\",\"model\" : \"{model}\",\"input\":[],\"messages\":[] }}\n"
        )
    };
    for path in ["/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/messages", "/pooling"] {
        assert_eq!(post(to, path, odd("gpt-4o")).await.status, 200);
    }
    let seen = [large.seen(), large_too.seen()].concat();
    assert_eq!(seen.len(), 5, "only those that serve it were asked");
    assert!(seen.iter().all(|seen| seen.body == odd("org/large")));

    let form = |model: &str| {
        format!(
            "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--b\r\n\r\ngpt-4o\r\n--b--"
        )
    };
    post(to, "/v1/audio/transcriptions", form("gpt-4o")).await;
    let heard = [large.seen(), large_too.seen()].concat();
    assert!(heard.iter().any(|seen| seen.body == form("org/large")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_models_is_that_of_the_fleet_with_the_least_context_and_the_aliases() {
    let [small, large, large_too] = fleet().await;
    let gateway = gateway_with(&[&small, &large, &large_too], aliases).await;
    let list = get(gateway.address(), "/v1/models").await.json();
    let said: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| (model["id"].as_str().unwrap(), model["max_model_len"].as_u64()))
        .collect();
    assert_eq!(
        said,
        [("small", Some(4096)), ("small-lora", None), ("org/large", Some(16384)), ("gpt-4o", Some(16384))]
    );
    for path in ["/v1/models/org/large", "/v1/models/org%2Flarge", "/v1/models/gpt-4o"] {
        assert_eq!(get(gateway.address(), path).await.json()["max_model_len"], 16384, "{path}");
    }
}
