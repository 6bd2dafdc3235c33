//! The indexer over HTTP and ZMQ: what publishers tell is what is answered.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use warmroute_kv::Tokens;
use warmroute_kv::wire::{EngineEvent, EngineHash, ExtraKeys, Home, Lora, Removed, Stored, Tier};

use super::*;
use crate::sources::kv_events::engine::{Engine, PATIENCE};

const BLOCK: Tokens = Tokens(2);

async fn indexer() -> RunningIndexer {
    let config = IndexerConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), publishers: Vec::new() };
    start(config).await.expect("it starts")
}

/// Status and body of the answer.
async fn ask(indexer: &RunningIndexer, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(indexer.address()).await.expect("it listens");
    connection.write_all((head + &body).as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)))
}

fn registration(instance: Value, engine: &Engine) -> Value {
    let replay = engine.source.replay.as_ref().map(ToString::to_string);
    json!({
        "instance_id": instance, "endpoint": engine.source.events.to_string(), "replay_endpoint": replay,
        "model_name": "m", "block_size": 2, "type": "vLLM",
    })
}

fn question(tokens: &[u32]) -> Value {
    json!({"model_name": "m", "token_ids": tokens})
}

/// Blocks of [1 1], [1 1, 2 2] and so on, called by their number.
fn stored(
    blocks: std::ops::RangeInclusive<u32>,
    tier: Tier,
) -> (Vec<EngineHash>, Vec<u32>, Option<EngineHash>, Home) {
    let parent = (*blocks.start() > 1).then(|| EngineHash(u64::from(blocks.start() - 1)));
    let hashes = blocks.clone().map(|block| EngineHash(u64::from(block))).collect();
    (hashes, blocks.flat_map(|block| [block, block]).collect(), parent, Home { tier, group: None })
}

async fn store(engine: &mut Engine, blocks: std::ops::RangeInclusive<u32>, tier: Tier) {
    let (hashes, tokens, parent, home) = stored(blocks, tier);
    let event = Stored {
        blocks: &hashes,
        parent,
        tokens: &tokens,
        block_tokens: BLOCK,
        home,
        attention: None,
        lora: Lora::default(),
        cache_salt: None,
        extra_keys: ExtraKeys::default(),
    };
    engine.tell(EngineEvent::Stored(event), false).await;
}

/// Asks until the answer is as wanted.
async fn until(indexer: &RunningIndexer, tokens: &[u32], wanted: &Value) {
    let asked = async {
        loop {
            let (status, answer) = ask(indexer, "POST", "/query", &question(tokens)).await;
            assert_eq!(status, 200, "{answer}");
            if answer["instances"] == *wanted {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    if timeout(PATIENCE, asked).await.is_err() {
        panic!("{:?}", ask(indexer, "POST", "/query", &question(tokens)).await);
    }
}

#[tokio::test]
async fn each_tier_is_told_by_the_prefix_that_it_and_nearer_ones_hold() {
    let (indexer, mut engine) = (indexer().await, Engine::start().await);
    let (status, answer) = ask(&indexer, "POST", "/register", &registration(json!(7), &engine)).await;
    assert_eq!((status, &answer["instance_id"]), (201, &json!("7")));
    engine.heard().await;

    store(&mut engine, 1..=3, Tier::Device).await;
    let holding = |gpu: u32, cpu: u32, disk: u32| json!({"7": {"longest_matched": disk, "gpu": gpu, "cpu": cpu, "disk": disk, "dp": {"0": disk}}});
    let prompt = [1, 1, 2, 2, 3, 3, 4, 4, 9];
    until(&indexer, &prompt, &holding(6, 6, 6)).await;

    // The second block moves to the host's memory and a fourth one lies on a disk.
    store(&mut engine, 2..=2, Tier::Host).await;
    store(&mut engine, 4..=4, Tier::Disk).await;
    engine
        .tell(EngineEvent::Removed(Removed { blocks: &[EngineHash(2)], home: Home::default() }), false)
        .await;
    until(&indexer, &prompt, &holding(2, 6, 8)).await;

    let (_, answer) = ask(&indexer, "POST", "/query", &question(&prompt)).await;
    assert_eq!(answer["scores"], json!({"7": {"0": 2}}));
    assert_eq!(answer["tree_sizes"], json!({"7": {"0": 2}}));
    assert_eq!(answer["frequencies"], json!([1, 1, 1, 1]));
    indexer.shutdown().await;
}

#[tokio::test]
async fn what_is_unregistered_is_forgotten_and_the_others_stay() {
    let (indexer, mut first, mut second) = (indexer().await, Engine::start().await, Engine::start().await);
    for (instance, engine) in [(json!("a"), &mut first), (json!("b"), &mut second)] {
        assert_eq!(ask(&indexer, "POST", "/register", &registration(instance, engine)).await.0, 201);
        engine.heard().await;
        store(engine, 1..=2, Tier::Device).await;
    }
    let holding = json!({"longest_matched": 4, "gpu": 4, "cpu": 4, "disk": 4, "dp": {"0": 4}});
    until(&indexer, &[1, 1, 2, 2], &json!({"a": holding, "b": holding})).await;

    let gone = json!({"instance_id": "a", "model_name": "m"});
    let (status, answer) = ask(&indexer, "POST", "/unregister", &gone).await;
    assert_eq!((status, &answer["removed_instances"]), (200, &json!(["a|default|0"])));
    until(&indexer, &[1, 1, 2, 2], &json!({"b": holding})).await;
    assert_eq!(ask(&indexer, "POST", "/unregister", &gone).await.0, 404);

    let (_, listed) = ask(&indexer, "GET", "/workers", &Value::Null).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&listed[0]["instance_id"], &listed[0]["blocks"], &listed[0]["status"]),
        (&json!("b"), &json!(2), &json!("live"))
    );
}

#[tokio::test]
async fn what_cannot_be_registered_or_asked_is_refused_with_its_reason() {
    let (indexer, engine) = (indexer().await, Engine::start().await);
    let good = registration(json!(1), &engine);
    assert_eq!(ask(&indexer, "POST", "/register", &good).await.0, 201);
    let with = |field: &str, value: Value| {
        let mut changed = good.clone();
        changed[field] = value;
        changed
    };
    for (body, status, says) in [
        (good.clone(), 409, "publisher of rank 0 already"),
        (with("block_size", json!(16)), 400, "16 tokens cannot be compared with the 2"),
        (with("block_size", json!(0)), 400, "nonzero"),
        (with("endpoint", json!("10.0.0.1:5557")), 400, "no address of KV events"),
        (with("additional_salt", json!("w8a8")), 400, "tenant_id"),
        (json!({"instance_id": 1}), 400, "missing field"),
    ] {
        let (answered, error) = ask(&indexer, "POST", "/register", &body).await;
        let message = error["error"]["message"].as_str().unwrap_or_default();
        assert!(answered == status && message.contains(says), "{body}: {answered} {error}");
    }
    let unknown = json!({"model_name": "n", "token_ids": [1]});
    assert_eq!(ask(&indexer, "POST", "/query", &unknown).await.0, 404);
    assert_eq!(ask(&indexer, "GET", "/query", &Value::Null).await.0, 405);
    assert_eq!(ask(&indexer, "GET", "/nothing", &Value::Null).await.0, 404);
    assert_eq!(ask(&indexer, "GET", "/health", &Value::Null).await.0, 200);
    let (_, metrics) = ask(&indexer, "GET", "/metrics", &Value::Null).await;
    assert!(
        metrics.as_str().is_some_and(|text| text.contains("warmroute_indexer_publishers 1\n")),
        "{metrics}"
    );
}

#[test]
fn publishers_are_written_on_one_line() {
    use super::form::Publisher;
    let publisher =
        |text: &str| text.parse::<Publisher>().map(|publisher| publisher.registration("m".into(), BLOCK));
    let plain = publisher("7=tcp://a:5557").expect("it is one");
    assert_eq!(
        (plain.instance_id.to_string().as_str(), plain.dp_rank, plain.replay_endpoint),
        ("7", 0, None)
    );
    let ranked = publisher("vllm-0.1=tcp://a:5557,tcp://a:5558").expect("it is one");
    assert_eq!((ranked.instance_id.to_string().as_str(), ranked.dp_rank), ("vllm-0", 1));
    assert!(ranked.replay_endpoint.is_some());
    for wrong in ["", "7", "=tcp://a:1", "7=a:1", "7=tcp://a:1,"] {
        assert!(publisher(wrong).is_err(), "{wrong}");
    }
}
