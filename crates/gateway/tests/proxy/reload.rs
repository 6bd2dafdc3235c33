//! Settings are read again while requests are under way.

use std::path::PathBuf;

use warmroute_gateway::{GatewayConfig, Origins, RunningGateway, start_from};

use crate::client::{PROMPT, complete, complete_coming, get, metric, request, send};
use crate::fleet::within;
use crate::keys::sha256;
use crate::worker::{Act, End, Worker};

/// Files of one test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("warmroute-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.0.join(name), self.0.join("new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn gateway(file: PathBuf) -> RunningGateway {
    gateway_with(GatewayConfig::from_file(&file).unwrap(), file).await
}

/// A gateway that was told these settings, and reads them from this file when it reads them again.
async fn gateway_with(config: GatewayConfig, file: PathBuf) -> RunningGateway {
    let files = vec![file.clone()];
    let origins = Origins { load: Box::new(move || GatewayConfig::from_file(&file)), files };
    let gateway = start_from(config, origins).await.unwrap();
    within(gateway.workers_up(1)).await;
    gateway
}

fn settings(rest: &str, workers: &[&Worker]) -> String {
    let workers = workers.iter().map(|worker| format!("[[workers]]\nurl = \"{}\"\n", worker.url()));
    format!("listen = \"127.0.0.1:0\"\n{rest}\n{}", workers.collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_policy_and_workers_and_disturbs_no_answer_under_way() {
    let (one, two) =
        (Worker::start(Act::stream(&["data: 1\n\n"], End::Wait)).await, Worker::start(Act::json("{}")).await);
    let scratch = Scratch::new("reload");
    let file = scratch.write("gateway.toml", &settings("policy = \"round_robin\"", &[&one]));
    let gateway = gateway(file).await;
    let mut coming = complete_coming(gateway.address()).await;
    coming.piece().await;

    scratch.write("gateway.toml", &settings("policy = \"random\"\nmax_connections = 5", &[&two]));
    let reloaded = gateway.reload().unwrap();
    assert_eq!((reloaded.changed, reloaded.after_restart), (vec!["policy"], vec!["max_connections"]));
    within(async {
        while two.seen().is_empty() {
            complete(gateway.address()).await;
        }
    })
    .await;
    assert_eq!(complete(gateway.address()).await.header("x-warmroute-policy"), "random");
    assert_eq!(one.seen().len(), 1, "the first worker gets nothing new");
    one.go_on();
    assert!(within(coming.whole()).await.clean);
    within(gateway.workers_left(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_changes_nothing_and_is_told_in_metrics() {
    let worker = Worker::start(Act::json("{}")).await;
    let scratch = Scratch::new("mistake");
    let gateway =
        gateway(scratch.write("gateway.toml", &settings("policy = \"round_robin\"", &[&worker]))).await;
    let well = "warmroute_config_last_reload_successful";
    assert_eq!(metric(gateway.address(), well).await, 1.0);
    scratch.write("gateway.toml", &settings("polcy = \"random\"", &[]));
    let error = gateway.reload().unwrap_err().to_string();
    assert!(error.contains("gateway.toml, line 2: ") && error.contains("did you mean `policy`?"), "{error}");
    assert_eq!(metric(gateway.address(), well).await, 0.0);
    assert!(metric(gateway.address(), "warmroute_config_last_reload_success_timestamp_seconds").await > 1e9);
    assert_eq!(complete(gateway.address()).await.header("x-warmroute-policy"), "round_robin");
    scratch.write("gateway.toml", &settings("policy = \"random\"", &[&worker]));
    gateway.reload().unwrap();
    assert_eq!(metric(gateway.address(), well).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_read_again_without_being_asked() {
    let worker = Worker::start(Act::json("{}")).await;
    let scratch = Scratch::new("watched");
    let watched = |policy| settings(&format!("reload_on_change = true\npolicy = \"{policy}\""), &[&worker]);
    let gateway = gateway(scratch.write("gateway.toml", &watched("round_robin"))).await;
    scratch.write("gateway.toml", &watched("random"));
    within(async { while complete(gateway.address()).await.header("x-warmroute-policy") != "random" {} })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_before_it_was_watched_is_read_again_as_well() {
    let worker = Worker::start(Act::json("{}")).await;
    let scratch = Scratch::new("early");
    let watched = |policy| settings(&format!("reload_on_change = true\npolicy = \"{policy}\""), &[&worker]);
    let file = scratch.write("gateway.toml", &watched("round_robin"));
    let config = GatewayConfig::from_file(&file).unwrap();
    scratch.write("gateway.toml", &watched("random"));
    let gateway = gateway_with(config, file).await;
    within(async { while complete(gateway.address()).await.header("x-warmroute-policy") != "random" {} })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_under_load_without_a_failed_request() {
    let worker = Worker::start(Act::json("{}")).await;
    let scratch = Scratch::new("rotation");
    let line = |name: &str, key: &str| format!("{name} {}\n", sha256(key));
    let keys = scratch.write("keys", &line("a", "old"));
    let file = settings(&format!("keys_file = \"{}\"", keys.display()), &[&worker]);
    let gateway = gateway(scratch.write("gateway.toml", &file)).await;
    let status = async |key: &str| {
        let mut asked = request("POST", "/v1/completions", PROMPT);
        asked.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        send(gateway.address(), asked).await.whole().await.status.as_u16()
    };
    let load = async {
        for _ in 0..100 {
            assert_eq!(status("old").await, 200);
        }
    };
    let rotate = async {
        for _ in 0..20 {
            scratch.write("keys", &(line("a", "old") + &line("b", "new")));
            gateway.reload().unwrap();
            assert_eq!(status("new").await, 200);
            scratch.write("keys", &line("a", "old"));
            gateway.reload().unwrap();
            assert_eq!(status("new").await, 401);
        }
    };
    within(async { tokio::join!(load, rotate) }).await;
    scratch.write("keys", &line("b", "new"));
    gateway.reload().unwrap();
    assert_eq!((status("old").await, status("new").await), (401, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_in_a_watched_file_come_and_go_with_their_lines() {
    let (one, two) = (Worker::start(Act::json("{}")).await, Worker::start(Act::json("{}")).await);
    let scratch = Scratch::new("listed");
    let list = scratch.write("workers", &one.url());
    let file = format!("listen = \"127.0.0.1:0\"\ndiscover = \"file:{}\"\n", list.display());
    let gateway = gateway(scratch.write("gateway.toml", &file)).await;
    assert_eq!(complete(gateway.address()).await.status, 200);
    scratch.write("workers", &format!("{}\n{} # the new one\n", one.url(), two.url()));
    within(gateway.workers_up(2)).await;
    scratch.write("workers", &two.url());
    within(gateway.workers_left(1)).await;
    scratch.write("workers", "no worker at all");
    assert_eq!(complete(gateway.address()).await.header("x-warmroute-worker"), two.address.to_string());
    let health = get(gateway.address(), "/health").await.json();
    assert_eq!(health["workers"].as_array().unwrap().len(), 1, "what cannot be read changes nothing");
}
