//! Every surface passes what it is given byte for byte, and finds its worker as the page says.

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::Full;

use crate::client::{get, metric, post, request, send};
use crate::errors::assert_shape;
use crate::fleet::{gateway, gateway_with, until};
use crate::worker::{Act, End, Worker};

/// Fields, numbers, keys and escapes that a parser would not write as they stand here.
const ODD: &str = "{ \"zz\":1.0E+2,\"a\":1e400, \"big\":123456789012345678901234567890,\"a\":-0, \"m\\u006fdel\":\"m\",\n\
    \"tools\":[{\"type\":\"function\",\"function\":{\"parameters\":{\"$ref\":\"#/x\",\"enum\":[null,1.50,\"\\u00e9\\/\"]}}}],\
    \"messages\" : [{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"h\\u0069\"}],\"x\":{}}],\"prompt\":[1,2],\"input\":\"i\"}\r\n";

/// Every path that has a row of its own, and some that have not.
const PATHS: [&str; 17] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/v1/rerank",
    "/v2/rerank",
    "/rerank",
    "/v1/score",
    "/score",
    "/tokenize",
    "/detokenize",
    "/v1/responses/resp_1/cancel",
    "/v1/audio/transcriptions",
    "/pooling",
    "/",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_body_passes_byte_for_byte_with_its_query() {
    let worker = Worker::start(Act::json("{ \"ok\":1.0 }")).await;
    let gateway = gateway(&[&worker]).await;
    for path in PATHS {
        let asked = format!("{path}?a=%FF&b=c%20d&&=");
        let answer = post(gateway.address(), &asked, ODD).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "{ \"ok\":1.0 }"), "{path}");
        let seen = worker.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", &*asked));
        assert_eq!(seen.body, ODD, "{path}");
    }
    assert_eq!(gateway.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_method_and_any_bytes_pass_where_nothing_is_known_of_them() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway(&[&worker]).await;
    let bytes = Bytes::from((0..=255_u8).cycle().take(5_000).collect::<Vec<_>>());
    for (method, path) in [
        ("PUT", "/x/%FF%00/y"),
        ("PATCH", "/v1/x"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/audio/speech"),
    ] {
        let answer = send(gateway.address(), request(method, path, bytes.clone())).await.whole().await;
        assert_eq!(answer.status, 200, "{method} {path}");
        assert_eq!(answer.header("x-warmroute-policy"), "least_loaded");
        let seen = worker.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.path.as_str()), (method, path));
        assert!(seen.body == bytes, "{method} {path}");
    }
    get(gateway.address(), "/version").await;
    let seen = worker.seen().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.body.len(), seen.headers.get("content-length")), ("GET", 0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_is_answered_by_a_head() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway(&[&worker]).await;
    let answer = send(gateway.address(), request("HEAD", "/version", "")).await.whole().await;
    assert_eq!((answer.status.as_u16(), answer.text(), answer.clean), (200, "", true));
    assert_eq!(gateway.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_prompt_goes_by_load_whatever_the_policy() {
    let (one, two) = (Worker::start(Act::json("{}")).await, Worker::start(Act::json("{}")).await);
    for policy in ["prefix_hash", "session", "cache_aware", "bounded_hash"] {
        let gateway = gateway_with(&[&one, &two], |config| config.set("policy", policy).unwrap()).await;
        let before = (one.seen().len(), two.seen().len());
        for _ in 0..4 {
            let answer = post(gateway.address(), "/v1/embeddings", r#"{"input":"the same"}"#).await;
            assert_eq!(answer.header("x-warmroute-policy"), "least_loaded");
            assert_eq!(answer.header("x-warmroute-reason"), "least_load");
        }
        assert_eq!((one.seen().len() - before.0, two.seen().len() - before.1), (2, 2), "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_followed_by_the_worker_that_made_it() {
    let stream = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_two\",\"object\":\"response\"}}\n\n";
    let end = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_two\",\
        \"usage\":{\"input_tokens\":9,\"input_tokens_details\":{\"cached_tokens\":8},\"output_tokens\":2}}}\n\n";
    let one =
        Worker::start(Act::json(r#"{"id":"resp_one","object":"response","output":[{"id":"msg_1"}]}"#)).await;
    let two = Worker::start(Act::stream(&[stream, end], End::Clean)).await;
    let gateway = gateway(&[&one, &two]).await;
    let to = gateway.address();
    for _ in 0..2 {
        post(to, "/v1/responses", r#"{"input":"x"}"#).await;
    }
    for (id, maker) in [("resp_one", &one), ("resp_two", &two)] {
        let name = maker.address.to_string();
        for _ in 0..3 {
            let body = format!(r#"{{"input":"and then?","previous_response_id":"{id}"}}"#);
            assert_eq!(post(to, "/v1/responses", body).await.header("x-warmroute-worker"), name);
            assert_eq!(get(to, &format!("/v1/responses/{id}")).await.header("x-warmroute-worker"), name);
        }
    }
    let unknown = post(to, "/v1/responses", r#"{"input":"x","previous_response_id":"resp_x"}"#).await;
    assert_eq!(unknown.status, 200, "somebody is asked, and says what there is to say");
    assert!(metric(to, "warmroute_prompt_tokens_total{cached=\"reported\"}").await >= 8.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropics_clients_get_usage_and_errors_of_their_own() {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"usage\":{\"input_tokens\":1,\
        \"cache_read_input_tokens\":8,\"cache_creation_input_tokens\":3,\"output_tokens\":1}}}\n\n";
    let end = "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":5}}\n\n";
    let worker = Worker::start(Act::stream(&[start, end], End::Clean)).await;
    let gateway = gateway(&[&worker]).await;
    let to = gateway.address();
    let body =
        r#"{"system":"You are.","messages":[{"role":"user","content":"x"}],"max_tokens":5,"stream":true}"#;
    assert_eq!(post(to, "/v1/messages", body).await.text(), format!("{start}{end}"));
    assert_eq!(metric(to, "warmroute_prompt_tokens_total{cached=\"all\"}").await, 12.0);
    assert_eq!(metric(to, "warmroute_prompt_tokens_total{cached=\"reported\"}").await, 8.0);

    let refused = post(to, "/v1/messages", "{\"system\":\"x\"}").await;
    assert_eq!((refused.status.as_u16(), &refused.json()["type"]), (400, &"error".into()));
    assert_eq!(refused.json()["error"]["type"], "invalid_request_error");

    worker.act(Act::stream(&[start], End::Die));
    let broken = post(to, "/v1/messages", body).await;
    let last = broken.text().strip_prefix(start).unwrap();
    assert!(
        last.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""),
        "{last}"
    );
    assert!(!broken.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_asked_for_where_the_settings_say_so_and_its_chunk_is_only_for_those_who_asked() {
    let text = "data: {\"choices\":[{\"text\":\"a\"}],\"usage\":null}\n\n";
    let (usage, done) = (
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":8}}}\n\n",
        "data: [DONE]\n\n",
    );
    let worker = Worker::start(Act::stream(&[text, &usage[..20], &usage[20..], done], End::Clean)).await;
    let gateway = gateway_with(&[&worker], |config| config.include_usage = true).await;
    let to = gateway.address();
    let asked = r#"{"prompt":"x", "stream":true,"stream_options":{"include_usage":true}}"#;
    assert_eq!(post(to, "/v1/completions", asked).await.text(), format!("{text}{usage}{done}"));
    assert_eq!(worker.seen()[0].body, asked);

    let answer = post(to, "/v1/completions", r#" {"prompt":"x", "stream":true,"n":1.0}"#).await;
    assert_eq!((answer.text(), answer.clean), (&*format!("{text}{done}"), true));
    let sent = r#" {"stream_options":{"include_usage":true},"prompt":"x", "stream":true,"n":1.0}"#;
    assert_eq!(worker.seen()[1].body, sent);
    assert_eq!(metric(to, "warmroute_prompt_tokens_total{cached=\"all\"}").await, 18.0, "both were counted");

    let whole = r#"{"prompt":"x"}"#;
    post(to, "/v1/completions", whole).await;
    assert_eq!(worker.seen()[2].body, whole, "an answer that is no stream tells its usage anyway");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_refused_and_says_why() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway(&[&worker]).await;
    let mut asked: Request<Full<Bytes>> = request("GET", "/v1/realtime?model=m", "");
    asked.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
    asked.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
    assert_shape(&send(gateway.address(), asked).await.whole().await, 501, "upgrade_unsupported");
    assert!(worker.seen().is_empty());
    until(|| gateway.in_flight() == 0).await;
}
