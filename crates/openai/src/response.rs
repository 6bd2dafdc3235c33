//! What workers answer: completions, chat completions, their stream chunks, the model list and tokenisation.
//!
//! Every type goes both ways, since the worker writes what the load generator reads. Reading tolerates unknown and
//! missing optional keys, because real engines answer with more and with less than OpenAI's reference.

use serde::{Deserialize, Serialize};

/// Token counts of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    #[serde(default)]
    pub completion_tokens: u32,
    /// Both.
    #[serde(default)]
    pub total_tokens: u32,
    /// Where the worker says how much of the prompt it did not have to compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<PromptTokensDetails>,
}

/// The part of [`Usage`] that cache-aware routing lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Prompt tokens taken from the KV cache; `None` when the engine does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u32>,
}

impl Usage {
    /// Counts with the cached part known.
    pub fn new(prompt: u32, cached: u32, completion: u32) -> Self {
        Self::reported(prompt, Some(cached), completion)
    }

    /// Counts as an engine reported them: `cached` is `None` when it said nothing about its cache.
    pub fn reported(prompt: u32, cached: Option<u32>, completion: u32) -> Self {
        let details = |cached| PromptTokensDetails { cached_tokens: Some(cached) };
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt.saturating_add(completion),
            prompt_tokens_details: cached.map(details),
        }
    }

    /// Prompt tokens taken from the cache, if the engine tells.
    pub fn cached_tokens(&self) -> Option<u32> {
        self.prompt_tokens_details.and_then(|details| details.cached_tokens)
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model's end token or a stop string.
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
    /// Anything another engine may say (`tool_calls`, `content_filter`, ...).
    #[serde(other)]
    Other,
}

/// `to_body` for the types that are a whole answer.
macro_rules! bodies {
    ($($answer:ty),+) => { $(
        impl $answer {
            /// The JSON body of the answer.
            pub fn to_body(&self) -> Vec<u8> {
                crate::to_json(self)
            }
        }
    )+ };
}

bodies!(Completion, ChatCompletion, ModelList, TokenizeResponse, DetokenizeResponse);

/// Answer of `/v1/completions`, whole or one chunk of a stream: OpenAI gives both the same shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// `cmpl-...`, the same in all chunks of a stream.
    pub id: String,
    /// Always `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's served name.
    pub model: String,
    /// One choice; none in the usage chunk of a stream.
    pub choices: Vec<CompletionChoice>,
    /// In a stream only in the last chunk, and only if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// One event of a streamed completion.
pub type CompletionChunk = Completion;

/// The text of a completion or of one chunk of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletionChoice {
    /// Always 0 here: `n` is 1.
    pub index: u32,
    /// The text, or what this chunk adds to it.
    #[serde(default)]
    pub text: String,
    /// `None` in every chunk of a stream but the last.
    #[serde(default)]
    pub finish_reason: Option<FinishReason>,
}

/// Whole answer of `/v1/chat/completions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatCompletion {
    /// `chatcmpl-...`.
    pub id: String,
    /// Always `chat.completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's served name.
    pub model: String,
    /// One choice.
    pub choices: Vec<ChatChoice>,
    /// Token counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// The one choice of a [`ChatCompletion`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatChoice {
    /// Always 0 here.
    pub index: u32,
    /// The model's turn.
    pub message: AssistantMessage,
    /// Why it ended.
    #[serde(default)]
    pub finish_reason: Option<FinishReason>,
}

/// The model's turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssistantMessage {
    /// Always `assistant`.
    pub role: String,
    /// The text; `None` from engines that answered with a tool call.
    #[serde(default)]
    pub content: Option<String>,
}

/// One event of a streamed chat completion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatChunk {
    /// `chatcmpl-...`, the same in all chunks.
    pub id: String,
    /// Always `chat.completion.chunk`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's served name.
    pub model: String,
    /// One choice; none in the usage chunk.
    pub choices: Vec<ChatChunkChoice>,
    /// Only in the last chunk, and only if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// The one choice of a [`ChatChunk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatChunkChoice {
    /// Always 0 here.
    pub index: u32,
    /// What this chunk adds.
    pub delta: Delta,
    /// `None` in every chunk but the last with a choice.
    #[serde(default)]
    pub finish_reason: Option<FinishReason>,
}

/// What one chunk adds to the model's turn.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Delta {
    /// `assistant`, in the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// More text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// Answer of `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelList {
    /// Always `list`.
    pub object: String,
    /// The models.
    pub data: Vec<ModelCard>,
}

impl ModelList {
    /// A list of these models.
    pub fn new(data: Vec<ModelCard>) -> Self {
        Self { object: "list".to_owned(), data }
    }
}

/// One served model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The name requests use.
    pub id: String,
    /// Always `model`.
    #[serde(default)]
    pub object: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub created: u64,
    /// Who serves it.
    #[serde(default)]
    pub owned_by: String,
    /// What its weights are called, whatever its own name, as vLLM tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Context length in tokens, as vLLM tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u32>,
}

impl ModelCard {
    /// A model served by warmroute.
    pub fn new(id: impl Into<String>, created: u64, max_model_len: u32) -> Self {
        Self {
            id: id.into(),
            object: "model".to_owned(),
            created,
            owned_by: "warmroute".to_owned(),
            root: None,
            max_model_len: Some(max_model_len),
        }
    }

    /// The same, as one of the names of these weights.
    #[must_use]
    pub fn with_root(self, root: impl Into<String>) -> Self {
        Self { root: Some(root.into()), ..self }
    }
}

/// Answer of `POST /tokenize`, in vLLM's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizeResponse {
    /// How many tokens.
    pub count: u32,
    /// Context length of the model in tokens.
    pub max_model_len: u32,
    /// The ids, in order.
    pub tokens: Vec<u32>,
}

/// Answer of `POST /detokenize`, in vLLM's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetokenizeResponse {
    /// The text.
    pub prompt: String,
}
