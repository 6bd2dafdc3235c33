//! Gateways before the same worker that hear of each other, and what is said where they cannot.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::interval;
use warmroute_gateway::{GatewayConfig, Origins, RunningGateway, Sockets, start_from, start_on};

use crate::client::{PROMPT, complete_coming, get, request, send};
use crate::fleet::{gateway_with, settings, within};
use crate::keys::sha256;
use crate::worker::{Act, End, Worker};

/// A gateway that can be heard.
async fn heard(worker: &Worker, adjust: impl FnOnce(&mut GatewayConfig)) -> RunningGateway {
    let adjust = |config: &mut GatewayConfig| {
        config.set("admin_listen", "127.0.0.1:0").unwrap();
        adjust(config);
    };
    gateway_with(&[worker], adjust).await
}

fn admin(gateway: &RunningGateway) -> SocketAddr {
    gateway.admin_address().unwrap()
}

fn listens_to(config: &mut GatewayConfig, others: &[SocketAddr]) {
    let urls: Vec<String> = others.iter().map(|other| format!("http://{other}")).collect();
    config.set("peers", &urls.join(",")).unwrap();
}

/// What a gateway says of the others, once that is as wanted.
async fn peers(gateway: &RunningGateway, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut look = interval(Duration::from_millis(10));
    within(async {
        loop {
            look.tick().await;
            let told = get(admin(gateway), "/peers").await.json();
            if wanted(&told["peers"]) {
                return told;
            }
        }
    })
    .await
}

/// What it counts in flight on its worker, others' requests included.
async fn in_flight(gateway: &RunningGateway) -> Value {
    let told = send(admin(gateway), request("POST", "/explain", PROMPT)).await.whole().await.json();
    told["candidates"][0]["in_flight"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_gateways_may_have_the_same_list_and_each_knows_itself() {
    let worker = Worker::start(Act::json("{}")).await;
    let sockets = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
    let mut gateways = Vec::new();
    for (socket, address) in sockets.into_iter().zip(addresses) {
        let mut config = settings(&[worker.url()]);
        config.set("admin_listen", &address.to_string()).unwrap();
        listens_to(&mut config, &addresses);
        let origins = Origins::fixed(&config);
        let sockets = Sockets { clients: None, operators: Some(socket) };
        gateways.push(start_on(config, origins, sockets).await.unwrap());
    }
    let mut parts = Vec::new();
    for gateway in &gateways {
        within(gateway.peers(2)).await;
        let told =
            peers(gateway, |peers| peers.as_array().unwrap().iter().all(|peer| peer["state"] != "unknown"))
                .await;
        let states = told["peers"].as_array().unwrap().iter().map(|peer| peer["state"].as_str().unwrap());
        let mut states: Vec<&str> = states.collect();
        states.sort_unstable();
        assert_eq!((states, &told["part"]["of"]), (vec!["alive", "alive", "self"], &json!(3)));
        parts.push(told["part"]["which"].as_u64().unwrap());
    }
    parts.sort_unstable();
    assert_eq!(parts, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_has_under_way_counts_for_the_other_until_it_ends_or_the_one_is_gone() {
    let worker = Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await;
    let one = heard(&worker, |_| {}).await;
    let other = heard(&worker, |config| listens_to(config, &[admin(&one)])).await;
    within(other.peers(1)).await;
    let mut look = interval(Duration::from_millis(10));
    let mut counts = async |count: u64| {
        within(async {
            while in_flight(&other).await != json!(count) {
                look.tick().await;
            }
        })
        .await;
    };
    counts(0).await;
    let mut coming = complete_coming(one.address()).await;
    coming.piece().await;
    counts(1).await;
    worker.go_on();
    assert!(within(coming.whole()).await.clean);
    counts(0).await;
    let mut coming = complete_coming(one.address()).await;
    coming.piece().await;
    counts(1).await;
    drop(one);
    counts(0).await;
    let told = peers(&other, |peers| peers[0]["state"] == "gone").await;
    assert_eq!(told["part"], json!({"which": 0, "of": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_of_and_the_right_one_opens() {
    let worker = Worker::start(Act::json("{}")).await;
    let file = std::env::temp_dir().join(format!("warmroute-peers-{}", std::process::id()));
    // Some variable that is always there.
    let key = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    std::fs::write(&file, format!("root {} admin\n", sha256(&key))).unwrap();
    let one = heard(&worker, |config| config.set("keys_file", file.to_str().unwrap()).unwrap()).await;
    std::fs::remove_file(&file).unwrap();
    let without = heard(&worker, |config| listens_to(config, &[admin(&one)])).await;
    let told = peers(&without, |peers| peers[0]["state"] == "gone").await;
    let why = told["peers"][0]["reason"].as_str().unwrap();
    assert!(
        why.contains("it refuses the key: no API key was sent") && why.contains("set peers_key"),
        "{why}"
    );
    let with = heard(&worker, |config| {
        listens_to(config, &[admin(&one)]);
        config.set("peers_key", "env:CARGO_MANIFEST_DIR").unwrap();
    })
    .await;
    within(with.peers(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_names_prompts_otherwise_is_heard_and_its_prompts_are_not_used() {
    let worker = Worker::start(Act::json("{}")).await;
    let one = heard(&worker, |config| config.text_chunk_bytes = 128).await;
    let other = heard(&worker, |config| listens_to(config, &[admin(&one)])).await;
    let told = peers(&other, |peers| peers[0]["state"] == "alive").await;
    let peer = &told["peers"][0];
    assert_eq!(
        (&peer["prompts"], &peer["reason"]),
        (&json!("unused"), &json!("text_chunk_bytes is 256 here and 128 there"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_gateway_is_told_of() {
    let worker = Worker::start(Act::json("{}")).await;
    let other = heard(&worker, |config| listens_to(config, &[worker.address])).await;
    let told = peers(&other, |peers| peers[0]["state"] == "gone").await;
    let why = told["peers"][0]["reason"].as_str().unwrap();
    assert!(
        why.contains("its first line does not say who it is")
            || why.contains("a line cannot be read")
            || why.contains("its feed has ended"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_others_is_reloaded() {
    let worker = Worker::start(Act::json("{}")).await;
    let one = heard(&worker, |_| {}).await;
    let mut config = settings(&[worker.url()]);
    config.set("admin_listen", "127.0.0.1:0").unwrap();
    let mut later = config.clone();
    listens_to(&mut later, &[admin(&one)]);
    let list = std::sync::Arc::new(parking_lot::Mutex::new(later));
    let told = std::sync::Arc::clone(&list);
    let origins = Origins { load: Box::new(move || Ok(told.lock().clone())), files: Vec::new() };
    let other = start_from(config, origins).await.unwrap();
    assert_eq!(other.reload().unwrap().changed, ["peers"]);
    within(other.peers(1)).await;
    list.lock().set("peers", "off").unwrap();
    assert_eq!(other.reload().unwrap().changed, ["peers"]);
    within(other.peers(0)).await;
    let told = peers(&other, |peers| peers == &json!([])).await;
    assert_eq!(told["part"], json!({"which": 0, "of": 1}));
}
