//! What `/metrics` says of prompt tokens and of what the router has learned.

use std::net::SocketAddr;

use warmroute_gateway::RunningGateway;

use crate::client::{Answer, complete_coming, metric, post, request, send};
use crate::fleet::{gateway, until};
use crate::worker::{Act, End, Worker};

const FATES: [&str; 4] = ["hit", "lost_to_load", "lost_to_eviction", "unseen"];

/// Room for one of the prompts below, and not for two.
const SMALL_CACHE: &str = "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"60\"} 1.0\n";

async fn ask(gateway: &RunningGateway, word: &str) -> Answer {
    let body = format!("{{\"model\":\"m\",\"prompt\":\"{}\",\"max_tokens\":1}}", word.repeat(500));
    post(gateway.address(), "/v1/completions", body).await
}

async fn fates(to: SocketAddr) -> [f64; 4] {
    let mut fates = [0.0; 4];
    for (fate, tokens) in FATES.iter().zip(&mut fates) {
        *tokens = metric(to, &format!("warmroute_routed_prompt_tokens_total{{fate=\"{fate}\"}}")).await;
    }
    fates
}

async fn of_worker(gateway: &RunningGateway, what: &str, worker: &Worker) -> f64 {
    metric(gateway.address(), &format!("warmroute_worker_{what}{{worker=\"{}\"}}", worker.address)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_prompt_token_has_one_fate() {
    let one = Worker::describing("", SMALL_CACHE).await;
    let two = Worker::describing("", SMALL_CACHE).await;
    let gateway = gateway(&[&one, &two]).await;
    let mut prompts = 0.0;
    let mut overlaps = 0.0;
    let mut gained = Vec::new();
    // Requests go around in turn: desks meets the first worker, the second, the first again; then boats push it out of both.
    for word in ["desks ", "desks ", "desks ", "boats ", "boats ", "desks "] {
        let before = fates(gateway.address()).await;
        let answer = ask(&gateway, word).await;
        prompts += answer.header("x-warmroute-prompt-tokens").parse::<f64>().unwrap();
        overlaps += answer.header("x-warmroute-overlap-tokens").parse::<f64>().unwrap();
        let after = fates(gateway.address()).await;
        let most = (0..4).max_by(|a, b| (after[*a] - before[*a]).total_cmp(&(after[*b] - before[*b])));
        gained.push(FATES[most.unwrap()]);
    }
    assert_eq!(gained, ["unseen", "lost_to_load", "hit", "unseen", "lost_to_load", "lost_to_eviction"]);
    let fates = fates(gateway.address()).await;
    assert_eq!(fates.iter().sum::<f64>(), prompts, "{fates:?}");
    assert_eq!(fates[0], overlaps, "{fates:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_router_has_learned_is_shown_for_each_worker() {
    let known = Worker::describing("", SMALL_CACHE).await;
    let unknown = Worker::start(Act::json("{}")).await;
    let gateway = gateway(&[&known, &unknown]).await;
    assert_eq!(of_worker(&gateway, "capacity_tokens", &known).await, 960.0);
    for worker in [&known, &unknown] {
        let seconds = of_worker(&gateway, "prompt_token_seconds", worker).await;
        assert!(seconds > 0.0 && seconds < 1.0, "{seconds}");
    }
    for word in ["desks ", "boats "] {
        ask(&gateway, word).await;
    }
    let blocks = metric(gateway.address(), "warmroute_index_blocks").await;
    let bytes = metric(gateway.address(), "warmroute_index_bytes").await;
    assert!(blocks > 0.0 && bytes > 8.0 * blocks, "{blocks} blocks in {bytes} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_unread_until_its_stream_begins_or_its_whole_answer_ends() {
    let worker = Worker::start(Act::Hang).await;
    let gateway = gateway(&[&worker]).await;
    let stream = request("POST", "/v1/completions", r#"{"prompt":"x","stream":true}"#);
    worker.act(Act::stream(&["data: 1\n\n"], End::Wait));
    let mut coming = send(gateway.address(), stream).await;
    coming.piece().await;
    assert_eq!(of_worker(&gateway, "in_flight", &worker).await, 1.0);
    assert_eq!(of_worker(&gateway, "unread_prompts", &worker).await, 0.0, "its first token has come");
    worker.go_on();
    coming.whole().await;

    let pieces = vec!["{\"choices\":", "[]}"];
    let headers = vec![("content-type", "application/json")];
    worker.act(Act::Answer { status: 200, headers, pieces, end: End::Wait });
    let coming = complete_coming(gateway.address()).await;
    assert_eq!(of_worker(&gateway, "unread_prompts", &worker).await, 1.0, "nobody can tell yet");
    worker.go_on();
    coming.whole().await;
    until(|| gateway.in_flight() == 0).await;
    assert_eq!(of_worker(&gateway, "unread_prompts", &worker).await, 0.0);
}
