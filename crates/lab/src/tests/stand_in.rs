//! A server for tests that answers like a worker behind a gateway, and misbehaves when told to.
//!
//! Its tokens are four bytes each and its cache is a real block pool, so hits, salts and resets behave as a worker's do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Json, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use warmroute_kv::{BlockPool, Blocks, Namespace, TokenId, token_chain};

use crate::client::Server;

const BLOCK: usize = 16;

/// What the server does with completions.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    /// Status of every answer.
    pub(crate) status: u16,
    /// Ends the connection after the first text.
    pub(crate) break_off: bool,
    /// Sends an error event after the first text.
    pub(crate) error_event: bool,
    /// Leaves out the last event.
    pub(crate) no_done: bool,
    /// Never answers.
    pub(crate) hang: bool,
    /// Answers something else when the prompt was in the cache, as a broken worker would.
    pub(crate) forgetful: bool,
    /// Shares its cache between salts, as a server that does not know them would.
    pub(crate) salt_ignored: bool,
    /// Blocks the cache holds.
    pub(crate) capacity: Blocks,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            status: 200,
            break_off: false,
            error_event: false,
            no_done: false,
            hang: false,
            forgetful: false,
            salt_ignored: false,
            capacity: Blocks(100_000),
        }
    }
}

struct Shared {
    behaviour: Behaviour,
    pool: Mutex<BlockPool<()>>,
    in_flight: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// A running stand-in; it stops when dropped.
pub(crate) struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl StandIn {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            pool: Mutex::new(BlockPool::new(behaviour.capacity)),
            behaviour,
            in_flight: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/v1/models", get(async || Json(json!({"object": "list", "data": [{"id": "stand-in"}]}))))
            .route("/v1/completions", post(complete))
            .route("/v1/chat/completions", post(complete))
            .route("/tokenize", post(tokenize))
            .route("/reset_prefix_cache", post(reset))
            .with_state(shared.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, _tasks: tasks }
    }

    pub(crate) fn client(&self) -> Server {
        Server::new(format!("http://{}", self.address).parse().unwrap())
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most_at_once.load(Ordering::SeqCst)
    }
}

fn tokens(body: &Value) -> Vec<TokenId> {
    let mut text = body["prompt"].as_str().unwrap_or_default().to_owned();
    for message in body["messages"].as_array().into_iter().flatten() {
        text.push_str(message["content"].as_str().unwrap());
    }
    let word = |bytes: &[u8]| bytes.iter().fold(0, |id, byte| id << 8 | TokenId::from(*byte));
    text.as_bytes().chunks(4).map(word).collect()
}

async fn tokenize(Json(body): Json<Value>) -> Json<Value> {
    let tokens = tokens(&body);
    Json(json!({"count": tokens.len(), "max_model_len": 4096, "tokens": tokens}))
}

async fn reset(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.pool.lock().await.clear(&mut Vec::new());
    StatusCode::OK
}

async fn complete(State(shared): State<Arc<Shared>>, Json(body): Json<Value>) -> Response<Body> {
    if shared.behaviour.hang {
        std::future::pending::<()>().await;
    }
    let now = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most_at_once.fetch_max(now, Ordering::SeqCst);
    let prompt = tokens(&body);
    let salt = body["cache_salt"].as_str().filter(|_| !shared.behaviour.salt_ignored);
    let root = Namespace { salt, ..Namespace::default() }.root();
    let chain: Vec<_> = token_chain(root, &prompt, BLOCK).collect();
    let found = shared.pool.lock().await.touch(root, &chain, &mut Vec::new());
    let cached = found.min((prompt.len() - 1) / BLOCK) * BLOCK;
    let events = answer(&shared.behaviour, &prompt, cached);
    let ending = shared.clone();
    // Events come one by one, as a worker's tokens do; the request counts as in flight until the last was taken.
    let paced = stream::iter(events).then(async |event: Option<Bytes>| {
        tokio::task::yield_now().await;
        event.ok_or_else(|| std::io::Error::other("broken"))
    });
    let counted = paced.chain(stream::once(async move {
        ending.in_flight.fetch_sub(1, Ordering::SeqCst);
        Ok(Bytes::new())
    }));
    Response::builder()
        .status(shared.behaviour.status)
        .header("x-warmroute-worker", "stand-in")
        .body(Body::from_stream(counted))
        .unwrap()
}

/// The events of an answer; `None` breaks the connection.
fn answer(behaviour: &Behaviour, prompt: &[TokenId], cached: usize) -> Vec<Option<Bytes>> {
    let event = |value: Value| Some(Bytes::from(format!("data: {value}\n\n")));
    let sum = prompt.iter().fold(0_u32, |sum, token| sum.rotate_left(5) ^ token);
    let text = if behaviour.forgetful && cached > 0 { "forgotten".to_owned() } else { sum.to_string() };
    let mut events = vec![event(json!({"choices": [{"index": 0, "text": "so: "}]}))];
    if behaviour.break_off {
        events.push(None);
        return events;
    }
    if behaviour.error_event {
        events.push(event(json!({"error": {"message": "worker is gone", "type": "upstream_error"}})));
    }
    events.push(event(json!({"choices": [{"index": 0, "text": text, "finish_reason": "length"}]})));
    let details = json!({"cached_tokens": cached});
    let usage =
        json!({"prompt_tokens": prompt.len(), "completion_tokens": 2, "prompt_tokens_details": details});
    events.push(event(json!({"choices": [], "usage": usage})));
    if !behaviour.no_done {
        events.push(Some(Bytes::from_static(b"data: [DONE]\n\n")));
    }
    events
}
