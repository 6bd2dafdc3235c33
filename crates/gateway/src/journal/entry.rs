//! One request as it is written down.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method};
use tokio::time::Instant;
use warmroute_kv::{BlockHash, Tokens};
use warmroute_routing::{Fate, Usage};

/// A prompt without its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// The name before the first block.
    pub root: BlockHash,
    /// The names of its whole blocks.
    pub blocks: Vec<BlockHash>,
    /// Its length.
    pub bytes: usize,
}

/// What happened to one request. It begins with its arrival, and what is not known yet says so.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub at: SystemTime,
    pub arrived: Instant,
    pub request_id: HeaderValue,
    /// The name of the client's key.
    pub key: Option<Arc<str>>,
    pub method: Method,
    pub path: String,
    pub model: String,
    /// What the client got, or what became of an answer already begun.
    pub status: u16,
    pub worker: Option<Arc<str>>,
    pub policy: &'static str,
    pub reason: &'static str,
    pub attempts: usize,
    /// The router's estimate of the prompt.
    pub prompt: Tokens,
    /// What of it the chosen worker was believed to hold.
    pub overlap: Tokens,
    pub fate: Fate,
    /// What the worker reported.
    pub usage: Option<Usage>,
    pub first_token: Option<Duration>,
    pub took: Duration,
    pub body_bytes: u64,
    pub answer_bytes: u64,
    /// Pieces of the answer's body; of a stream, about one for each token.
    pub pieces: u32,
    pub blocks: Option<Prompt>,
}

impl Entry {
    /// A request has arrived.
    pub(crate) fn new(request_id: HeaderValue, method: Method, path: &str) -> Self {
        Self {
            at: SystemTime::now(),
            arrived: Instant::now(),
            request_id,
            key: None,
            method,
            path: path.to_owned(),
            model: String::new(),
            status: 0,
            worker: None,
            policy: "none",
            reason: "none",
            attempts: 0,
            prompt: Tokens::ZERO,
            overlap: Tokens::ZERO,
            fate: Fate::default(),
            usage: None,
            first_token: None,
            took: Duration::ZERO,
            body_bytes: 0,
            answer_bytes: 0,
            pieces: 0,
            blocks: None,
        }
    }

    /// Its name as text.
    pub(crate) fn id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }
}
