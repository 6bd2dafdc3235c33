//! Measures prompts in tokens of the model under test, by asking a worker's `POST /tokenize`.
//!
//! A server without that endpoint is measured by a rule of thumb; then there is no oracle, since token ids are unknown.

use http::StatusCode;
use serde::Serialize;
use warmroute_kv::{TokenId, Tokens};
use warmroute_openai::response::TokenizeResponse;

use crate::client::{CallError, Server};
use crate::workload::Body;

/// Bytes of English per token, in the middle of what common vocabularies reach.
const BYTES_PER_TOKEN: usize = 4;

/// What servers say about an endpoint they do not have.
const NO_ENDPOINT: [StatusCode; 3] =
    [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];

/// What counts tokens.
#[derive(Clone, Debug)]
pub enum Ruler {
    /// A worker's own tokenizer and chat template: exact.
    Worker {
        /// The worker.
        server: Server,
        /// The model to name in requests.
        model: String,
    },
    /// Four bytes a token.
    Estimate,
}

/// A body of `/tokenize`, in vLLM's shape.
#[derive(Serialize)]
struct Tokenize<'a> {
    model: &'a str,
    #[serde(flatten)]
    input: Input<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Input<'a> {
    Text { prompt: &'a str },
    Chat { messages: [Message<'a>; 2], add_generation_prompt: bool },
}

/// One message of a chat, as every request of the lab writes it.
#[derive(Serialize)]
pub(crate) struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

/// The two messages of a desk's request, in the order the template renders them.
pub(crate) fn messages<'a>(system: &'a str, question: &'a str) -> [Message<'a>; 2] {
    [Message { role: "system", content: system }, Message { role: "user", content: question }]
}

impl Ruler {
    /// The tokenizer of `server`, or the rule of thumb if the server has no such endpoint.
    ///
    /// # Errors
    /// If the server cannot be reached, or has the endpoint and fails at it.
    pub async fn of(server: Server, model: &str) -> Result<Self, CallError> {
        match tokenize(&server, model, Input::Text { prompt: "one" }).await {
            Ok(_) => Ok(Self::Worker { server, model: model.to_owned() }),
            Err(error) if error.status().is_some_and(|status| NO_ENDPOINT.contains(&status)) => {
                Ok(Self::Estimate)
            }
            Err(error) => Err(error),
        }
    }

    /// How many tokens `text` has by itself.
    ///
    /// # Errors
    /// If the worker does not answer.
    pub async fn count(&self, text: &str) -> Result<Tokens, CallError> {
        match self {
            Self::Worker { server, model } => {
                Ok(Tokens(tokenize(server, model, Input::Text { prompt: text }).await?.count))
            }
            Self::Estimate => Ok(Tokens::of(text.len().div_ceil(BYTES_PER_TOKEN))),
        }
    }

    /// The ids of the whole prompt as the model sees it, chat template included; `None` if nobody can tell.
    ///
    /// # Errors
    /// If the worker does not answer.
    pub async fn ids(&self, body: &Body) -> Result<Option<Vec<TokenId>>, CallError> {
        let Self::Worker { server, model } = self else { return Ok(None) };
        let input = match body {
            Body::Completion { prompt } => Input::Text { prompt },
            Body::Chat { system, question } => {
                Input::Chat { messages: messages(system, question), add_generation_prompt: true }
            }
        };
        Ok(Some(tokenize(server, model, input).await?.tokens))
    }
}

async fn tokenize(server: &Server, model: &str, input: Input<'_>) -> Result<TokenizeResponse, CallError> {
    server.post("/tokenize", &Tokenize { model, input }).await
}
