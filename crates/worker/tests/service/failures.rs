//! Every failure is an OpenAI-shaped error with a hint.

use serde_json::{Value, json};
use warmroute_kv::Tokens;

use crate::world::{World, completion, events, prose};

async fn error(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.headers().contains_key("x-request-id"));
    let body: Value = response.json().await.unwrap();
    let error = body["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("hint: "), "no hint in {error}");
    (status, error)
}

#[tokio::test]
async fn errors_have_their_status_code_and_param() {
    let world = World::new().await;
    let long = vec![5; 2040];
    let tiny = "warmroute-tiny";
    let (complete, chat) = ("/v1/completions", "/v1/chat/completions");
    let cases = [
        (complete, json!({ "model": "gpt-5", "prompt": "x" }), 404, "model_not_found", "model"),
        (complete, json!({ "model": tiny, "prompt": long }), 400, "context_length_exceeded", ""),
        (
            complete,
            json!({ "model": tiny, "prompt": long, "max_tokens": 9 }),
            400,
            "context_length_exceeded",
            "",
        ),
        (complete, json!({ "model": tiny, "prompt": [4, 99_999] }), 400, "", "prompt"),
        (complete, json!({ "model": tiny, "prompt": "" }), 400, "", "prompt"),
        (complete, json!({ "model": tiny, "prompt": "x", "temperature": 3 }), 400, "", "temperature"),
        (complete, json!({ "model": tiny, "prompt": "x", "n": 2 }), 400, "unsupported_parameter", "n"),
        (chat, json!({ "model": tiny, "messages": [] }), 400, "", "messages"),
        (chat, json!({ "model": tiny }), 400, "", "messages"),
        (
            chat,
            json!({ "model": tiny, "messages": [{ "role": "user", "content": prose(1, 3000) }] }),
            400,
            "context_length_exceeded",
            "",
        ),
        ("/v1/nothing", json!({}), 404, "unknown_url", ""),
        ("/v1/models", json!({}), 405, "method_not_allowed", ""),
        ("/tokenize", json!({ "model": "gpt-5", "prompt": "x" }), 404, "model_not_found", "model"),
    ];
    for (path, body, status, code, param) in cases {
        let (got, error) = error(world.post(path, &body).await).await;
        let word = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (got, word("code").as_str(), word("param").as_str()),
            (status, code, param),
            "{path}: {error}"
        );
    }
    assert_eq!(world.worker.in_flight(), 0);
}

#[tokio::test]
async fn a_prompt_that_just_fits_is_answered() {
    let world = World::with(|config| config.kv_cache_tokens = Tokens(128)).await;
    let answer = world.complete("", json!({ "prompt": vec![5; 120], "max_tokens": 8 })).await;
    assert_eq!(answer.0["usage"]["total_tokens"], 128);
    let body = completion("", json!({ "prompt": vec![5; 120], "max_tokens": 9 }));
    assert_eq!(error(world.post("/v1/completions", &body).await).await.0, 400);
}

#[tokio::test]
async fn bad_json_and_wrong_methods_and_large_bodies_are_told_apart() {
    let world = World::new().await;
    let url = world.url("/v1/completions");
    let send = async |body: Vec<u8>| error(world.client().post(&url).body(body).send().await.unwrap()).await;
    let (status, bad) = send(b"{\"model\": ".to_vec()).await;
    assert_eq!((status, &bad["code"]), (400, &json!("invalid_json")));
    let (status, large) = send(vec![b' '; (16 << 20) + 1]).await;
    assert_eq!((status, &large["code"]), (413, &json!("payload_too_large")));
    let wrong = world.get("/v1/completions").await;
    assert_eq!(wrong.headers()["allow"], "POST");
    let (status, wrong) = error(wrong).await;
    assert!(status == 405 && wrong["message"].as_str().unwrap().contains("use POST"), "{wrong}");
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let world = World::with(|config| (config.max_running, config.max_waiting) = (1, 0)).await;
    let long = completion("In the beginning", json!({ "stream": true, "max_tokens": 1500 }));
    let first = world.post("/v1/completions", &long).await;
    let refused = world.post("/v1/completions", &completion("In", json!({}))).await;
    assert_eq!(refused.headers()["retry-after"], "1");
    let (status, refused) = error(refused).await;
    assert_eq!((status, &refused["code"]), (429, &json!("overloaded")));
    drop(first);
    world.worker.idle().await;
    world.complete("In", json!({})).await;
}

#[tokio::test]
async fn a_request_id_is_kept_or_made() {
    let world = World::new().await;
    let named =
        world.client().get(world.url("/version")).header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(named.headers()["x-request-id"], "mine-1");
    let fresh = world.get("/version").await;
    assert_eq!(fresh.headers()["x-request-id"].len(), 36);
    let body = completion("x", json!({ "stream": true })).to_string();
    let request =
        world.client().post(world.url("/v1/completions")).header("x-request-id", "mine-2").body(body);
    let stream = request.send().await.unwrap().text().await.unwrap();
    assert_eq!(events(&stream)[0]["id"], "cmpl-mine-2");
}
