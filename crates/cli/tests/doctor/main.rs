//! The doctor before set-ups that are broken in one way each: it names that way, and what mends it.

mod stub;

use std::path::Path;

use warmroute_gateway::GatewayConfig;
use warmroute_gateway::doctor::{Check, Finding, Outcome, examine};
use warmroute_worker::emulated::{EmulatedConfig, RunningEmulator, start};
use warmroute_worker::publish::KvPublishing;

use stub::Stub;

/// A worker that publishes and replays.
async fn worker() -> RunningEmulator {
    let port = || "tcp://127.0.0.1:0".parse().expect("an address");
    let publishing = KvPublishing { replay: Some(port()), ..KvPublishing::at(port()) };
    start(EmulatedConfig { kv_events: Some(publishing), ..EmulatedConfig::default() })
        .await
        .expect("it starts")
}

/// A `[[workers]]` table.
struct Table {
    url: String,
    events: String,
    replay: String,
    more: &'static str,
}

impl Table {
    fn of(worker: &RunningEmulator) -> Self {
        let endpoints = worker.kv_endpoints().expect("it publishes");
        Self {
            url: format!("http://{}", worker.address()),
            events: endpoints.events.clone(),
            replay: endpoints.replay.clone().expect("it replays"),
            more: "",
        }
    }

    fn toml(&self) -> String {
        let Self { url, events, replay, more } = self;
        format!("[[workers]]\nurl = \"{url}\"\nkv_events = \"{events}\"\nkv_replay = \"{replay}\"\n{more}\n")
    }
}

const MODEL: &str = "[[models]]\nname = \"emulated\"\ntokenizer = \"worker\"\n";

async fn found(toml: &str) -> Vec<Finding> {
    let config = GatewayConfig::from_toml(toml).expect("these are settings");
    examine(&config).await.expect("a gateway would start on them")
}

fn failed(findings: &[Finding]) -> Vec<Check> {
    findings.iter().filter(|one| one.outcome == Outcome::Failed).map(|one| one.check).collect()
}

/// Exactly one thing is wrong, which is seen and mended in words that contain these.
fn only(findings: &[Finding], check: Check, seen: &str, fix: &str) {
    assert_eq!(failed(findings), [check], "{findings:#?}");
    let finding = findings.iter().find(|one| one.outcome == Outcome::Failed).expect("it was counted");
    assert!(finding.seen.contains(seen), "{finding:?}");
    assert!(finding.fix.as_ref().is_some_and(|told| told.contains(fix)), "{finding:?}");
}

/// An address of this machine where nothing listens.
fn nowhere() -> String {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    taken.local_addr().expect("it has one").to_string()
}

#[tokio::test]
async fn a_fleet_that_is_well_has_nothing_wrong() {
    let (first, second) = (worker().await, worker().await);
    let findings = found(&(Table::of(&first).toml() + &Table::of(&second).toml() + MODEL)).await;
    assert!(findings.iter().all(|one| one.outcome == Outcome::Ok), "{findings:#?}");
    assert_eq!(findings.iter().filter(|one| one.check == Check::Prediction).count(), 2);
}

#[tokio::test]
async fn a_worker_where_nothing_listens() {
    let findings = found(&format!("[[workers]]\nurl = \"http://{}\"", nowhere())).await;
    only(&findings, Check::Reachable, "refused", "start it, or correct url");
}

#[tokio::test]
async fn a_worker_that_is_still_loading() {
    let stub = Stub { health: 503, ..Stub::default() }.start().await;
    only(&found(&stub.table()).await, Check::Reachable, "503", "until its model is loaded");
}

#[tokio::test]
async fn a_worker_that_wants_a_key() {
    let stub = Stub { models: 401, ..Stub::default() }.start().await;
    only(&found(&stub.table()).await, Check::Models, "another key", "api_key");
}

#[tokio::test]
async fn a_worker_that_does_not_tell_cached_tokens() {
    let stub = Stub { usage: r#"{"prompt_tokens": 200, "prompt_tokens_details": null}"#, ..Stub::default() };
    only(
        &found(&stub.start().await.table()).await,
        Check::Usage,
        "cached tokens",
        "--enable-prompt-tokens-details",
    );
}

#[tokio::test]
async fn a_worker_that_keeps_no_prefixes() {
    let stub = Stub {
        usage: r#"{"prompt_tokens": 200, "prompt_tokens_details": {"cached_tokens": 0}}"#,
        ..Stub::default()
    };
    only(
        &found(&stub.start().await.table()).await,
        Check::PrefixCache,
        "0 of them",
        "--enable-prefix-caching",
    );
}

#[tokio::test]
async fn a_worker_that_has_no_way_to_tokenize() {
    let stub = Stub::default().start().await;
    only(&found(&(stub.table() + MODEL)).await, Check::Tokenizer, "no /tokenize", "hub:OWNER/MODEL");
}

#[tokio::test]
async fn another_block_size_than_the_workers() {
    let worker = worker().await;
    let findings = found(&(Table::of(&worker).toml() + MODEL + "block_tokens = 32")).await;
    assert!(failed(&findings).iter().all(|check| *check == Check::BlockSize), "{findings:#?}");
    assert!(findings.iter().any(|one| one.fix.as_ref().is_some_and(|fix| fix.contains("block_tokens = 16"))));
}

#[tokio::test]
async fn another_tokenizer_than_the_workers() {
    let worker = worker().await;
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/warmroute-tiny");
    let model = format!("[[models]]\nname = \"emulated\"\ntokenizer = \"{}\"", tiny.display());
    let findings = found(&(Table::of(&worker).toml() + &model)).await;
    only(&findings, Check::Tokenizer, "tokens here and", "point `tokenizer`");
}

#[tokio::test]
async fn events_that_are_not_turned_on() {
    let worker = worker().await;
    let table = Table { events: format!("tcp://{}", nowhere()), ..Table::of(&worker) };
    only(
        &found(&(table.toml() + MODEL)).await,
        Check::Events,
        "cannot be connected to",
        "--kv-events-config",
    );
}

#[tokio::test]
async fn events_of_a_worker_that_is_not_asked() {
    let (worker, other) = (worker().await, worker().await);
    let table = Table { url: format!("http://{}", worker.address()), ..Table::of(&other) };
    only(
        &found(&(table.toml() + MODEL)).await,
        Check::Events,
        "no event of that came",
        "this worker's endpoint",
    );
}

#[tokio::test]
async fn events_of_two_workers_that_were_exchanged() {
    let (first, second) = (worker().await, worker().await);
    let exchanged = |url: &RunningEmulator, events| Table {
        url: format!("http://{}", url.address()),
        ..Table::of(events)
    };
    let toml = exchanged(&first, &second).toml() + &exchanged(&second, &first).toml() + MODEL;
    let findings = found(&toml).await;
    assert_eq!(failed(&findings), [Check::Prediction; 2], "{findings:#?}");
}

#[tokio::test]
async fn two_workers_with_one_endpoint() {
    let (first, second) = (worker().await, worker().await);
    let shared = Table { url: format!("http://{}", second.address()), ..Table::of(&first) };
    let findings = found(&(Table::of(&first).toml() + &shared.toml() + MODEL)).await;
    assert!(failed(&findings).contains(&Check::Settings), "{findings:#?}");
}

#[tokio::test]
async fn a_port_that_does_not_replay() {
    let worker = worker().await;
    let table = Table { replay: format!("tcp://{}", nowhere()), ..Table::of(&worker) };
    only(&found(&(table.toml() + MODEL)).await, Check::Replay, "kv_replay", "replay_endpoint");
}

#[tokio::test]
async fn a_topic_that_nobody_publishes() {
    let worker = worker().await;
    let table = Table { more: "kv_topic = \"nobody\"", ..Table::of(&worker) };
    only(
        &found(&(table.toml() + MODEL)).await,
        Check::Events,
        "topic that begins with \"nobody\"",
        "kv_topic",
    );
}

#[tokio::test]
async fn a_model_that_is_not_in_token_mode() {
    let worker = worker().await;
    let model = MODEL.replace("\"emulated\"", "\"emulatd\"");
    only(
        &found(&(Table::of(&worker).toml() + &model)).await,
        Check::Models,
        "nearest name there is emulatd",
        "name = \"emulated\"",
    );
}
