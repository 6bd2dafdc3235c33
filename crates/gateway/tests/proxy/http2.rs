//! The same gateway spoken to in HTTP/2, where a cut and a client that leaves are resets of one stream.

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use warmroute_gateway::RunningGateway;

use crate::client::{PROMPT, request};
use crate::fleet::{gateway, until, within};
use crate::worker::{Act, End, Worker};

fn asked(gateway: &RunningGateway) -> Request<Full<Bytes>> {
    let mut asked = request("POST", "/", PROMPT);
    *asked.uri_mut() = format!("http://{}/v1/completions", gateway.address()).parse().unwrap();
    asked.headers_mut().remove("host");
    asked
}

async fn complete(gateway: &RunningGateway) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    within(client.request(asked(gateway))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_on_the_same_port() {
    let worker = Worker::start(Act::json("{\"choices\":[]}")).await;
    let gateway = gateway(&[&worker]).await;
    let answer = complete(&gateway).await;
    assert_eq!(answer.version(), Version::HTTP_2);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "{\"choices\":[]}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_event_of_a_lost_worker_arrives_before_the_reset() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n"], End::Die)).await;
    let gateway = gateway(&[&worker]).await;
    let mut body = complete(&gateway).await.into_body();
    let mut text = Vec::new();
    let cut = loop {
        match within(body.frame()).await {
            Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    let text = String::from_utf8(text).unwrap();
    assert!(
        cut && text.starts_with("data: 1\n\ndata: {\"error\"") && text.ends_with("}\n\n"),
        "{cut} {text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_its_stream_cancels_the_work_before_and_after_the_first_byte() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await;
    let gateway = gateway(&[&worker]).await;
    let mut body = complete(&gateway).await.into_body();
    within(body.frame()).await.unwrap().unwrap();
    drop(body);
    within(worker.cancelled()).await;
    until(|| gateway.in_flight() == 0).await;

    worker.act(Act::Hang);
    {
        let waiting = std::pin::pin!(complete(&gateway));
        let asked = std::pin::pin!(until(|| worker.seen().len() == 2));
        futures_util::future::select(waiting, asked).await;
    }
    within(worker.cancelled()).await;
    until(|| gateway.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_stops_the_worker() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n"], End::Never)).await;
    let gateway = gateway(&[&worker]).await;
    let mut body = complete(&gateway).await.into_body();
    within(body.frame()).await.unwrap().unwrap();
    let taken = within(worker.stalled()).await;
    assert!(taken < 16 << 20, "{taken} bytes are between a worker and a client that does not read");
    drop(body);
    within(worker.cancelled()).await;
    until(|| gateway.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_surface_is_there_and_a_long_body_passes_as_it_comes() {
    let worker = Worker::start(Act::json("{}")).await;
    let gateway = gateway(&[&worker]).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let speech = Bytes::from(vec![b'x'; 1 << 20]);
    for (path, body) in [
        ("/v1/chat/completions", r#"{"model":"m","messages":[]}"#.into()),
        ("/v1/responses", r#"{"model":"m","input":"x"}"#.into()),
        ("/v1/messages", r#"{"model":"m","messages":[]}"#.into()),
        ("/v1/embeddings", r#"{"model":"m","input":"x"}"#.into()),
        ("/v1/audio/transcriptions", speech),
    ] {
        let mut asked = request("POST", path, body.clone());
        *asked.uri_mut() = format!("http://{}{path}", gateway.address()).parse().unwrap();
        asked.headers_mut().remove("host");
        assert_eq!(within(client.request(asked)).await.unwrap().status(), 200, "{path}");
        let seen = worker.seen().pop().unwrap();
        assert!(seen.path == path && seen.body == body, "{path} arrived as {}", seen.path);
    }
}
