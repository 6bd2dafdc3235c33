//! How an answer is to be generated: the options that completions and chat completions share, checked once at the edge.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::ApiError;
use crate::fields::Fields;

/// OpenAI's bound on `stop`; a bound is needed, since every token is checked against every string.
const MAX_STOP_STRINGS: usize = 16;
/// Longest stop string in bytes: a worker holds back that much text of a stream.
const MAX_STOP_BYTES: usize = 1024;

/// Everything about a request but its model and prompt.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct GenerationOptions {
    /// Longest answer in tokens, at least 1; `None` means until the context is full. Read from `max_completion_tokens`,
    /// else `max_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// How the next token is drawn.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Strings that end the answer (and are not part of it).
    #[serde(skip_serializing_if = "Stop::is_empty")]
    pub stop: Stop,
    /// Answer as server-sent events.
    pub stream: bool,
    /// What to add to a stream.
    #[serde(skip_serializing_if = "StreamOptions::is_default")]
    pub stream_options: StreamOptions,
    /// Requests with different salts share no cache (vLLM's `cache_salt`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_salt: Option<String>,
    /// Go on after the model's end token, for load tests (vLLM's `ignore_eos`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_eos: bool,
    /// The end user, for logs only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// How the next token is drawn. The default is OpenAI's: temperature 1 over the whole vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sampling {
    /// 0 to 2; 0 is greedy.
    pub temperature: f32,
    /// Over 0, up to 1: only the most probable tokens that add up to this much.
    pub top_p: f32,
    /// Only this many most probable tokens; `None` means all (vLLM's `top_k`, where 0 and -1 mean all too).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Equal seeds and requests give equal answers; `None` lets the server choose one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Sampling {
    /// The most probable token, always.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, top_k: None, seed: None };

    /// Whether the most probable token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 || self.top_k == Some(1)
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, ..Self::GREEDY }
    }
}

/// Stop strings, none of them empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stop(Vec<String>);

impl Stop {
    /// Checks the number and length of the strings.
    pub fn new(strings: Vec<String>) -> Result<Self, ApiError> {
        let refuse = |cause: String| {
            let hint = format!("send up to {MAX_STOP_STRINGS} strings of 1 to {MAX_STOP_BYTES} bytes");
            Err(ApiError::invalid_param("stop", cause, hint))
        };
        if strings.len() > MAX_STOP_STRINGS {
            return refuse(format!("has {} strings", strings.len()));
        }
        match strings.iter().find(|string| string.is_empty() || string.len() > MAX_STOP_BYTES) {
            Some(string) => refuse(format!("has a string of {} bytes", string.len())),
            None => Ok(Self(strings)),
        }
    }

    /// The strings.
    pub fn strings(&self) -> &[String] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Stop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// What to add to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamOptions {
    /// One more chunk, with [`crate::response::Usage`], before `[DONE]`.
    #[serde(default)]
    pub include_usage: bool,
}

impl StreamOptions {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl GenerationOptions {
    /// Reads and checks the shared fields of a body.
    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, ApiError> {
        refuse_unsupported(fields)?;
        let stop = match fields.get("stop", "a string or an array of strings")? {
            None => Vec::new(),
            Some(OneOrMany::One(string)) => vec![string],
            Some(OneOrMany::Many(strings)) => strings,
        };
        Ok(Self {
            max_tokens: read_max_tokens(fields)?,
            sampling: read_sampling(fields)?,
            stop: Stop::new(stop)?,
            stream: fields.get("stream", "true or false")?.unwrap_or(false),
            stream_options: fields.get("stream_options", "an object")?.unwrap_or_default(),
            cache_salt: fields.get("cache_salt", "a string")?,
            ignore_eos: fields.get("ignore_eos", "true or false")?.unwrap_or(false),
            user: fields.get("user", "a string")?,
        })
    }
}

fn read_max_tokens(fields: &Fields<'_>) -> Result<Option<u32>, ApiError> {
    for name in ["max_completion_tokens", "max_tokens"] {
        match fields.get::<u32>(name, "a whole number from 1 on")? {
            Some(0) => return Err(ApiError::invalid_param(name, "is 0", "send a whole number from 1 on")),
            Some(tokens) => return Ok(Some(tokens)),
            None => {}
        }
    }
    Ok(None)
}

fn read_sampling(fields: &Fields<'_>) -> Result<Sampling, ApiError> {
    let temperature = fields.get::<f32>("temperature", "a number from 0 to 2")?.unwrap_or(1.0);
    if !(0.0..=2.0).contains(&temperature) {
        let cause = format!("is {temperature}");
        return Err(ApiError::invalid_param("temperature", cause, "send a number from 0 (greedy) to 2"));
    }
    let top_p = fields.get::<f32>("top_p", "a number over 0 and up to 1")?.unwrap_or(1.0);
    if !(top_p > 0.0 && top_p <= 1.0) {
        let cause = format!("is {top_p}");
        return Err(ApiError::invalid_param("top_p", cause, "send a number over 0 and up to 1"));
    }
    let top_k = match fields.get::<i64>("top_k", "a whole number")? {
        None | Some(0 | -1) => None,
        Some(count) => Some(u32::try_from(count).map_err(|_| {
            ApiError::invalid_param(
                "top_k",
                format_args!("is {count}"),
                "send a number from 1 on, or -1 for all",
            )
        })?),
    };
    // Negative seeds are legal in OpenAI's schema (i64); as bits they are as good a seed as any.
    let seed = fields.get::<i64>("seed", "a whole number (64 bits, signed)")?.map(i64::cast_unsigned);
    Ok(Sampling { temperature, top_p, top_k, seed })
}

/// A field that would change the answer in a way we cannot, when it is allowed to be there anyway, and what to do.
type Unsupported = (&'static str, fn(&Value) -> bool, &'static str);

/// Ignoring these in silence would give a different answer from the one asked for. Their harmless values pass, since many
/// clients send every field with its default.
const UNSUPPORTED: &[Unsupported] = &[
    ("n", |value| value == 1, "send one request per answer"),
    ("best_of", |value| value == 1, "leave it out"),
    ("echo", |value| value == false, "put the prompt before the answer on your side"),
    ("logprobs", |value| value == false, "leave it out"),
    ("top_logprobs", |value| value == 0, "leave it out"),
    ("prompt_logprobs", |_| false, "leave it out"),
    ("suffix", |value| value == "", "leave it out"),
    ("logit_bias", is_empty, "leave it out"),
    ("presence_penalty", is_zero, "leave it out or send 0"),
    ("frequency_penalty", is_zero, "leave it out or send 0"),
    ("repetition_penalty", |value| value.as_f64() == Some(1.0), "leave it out or send 1"),
    ("functions", is_empty, "leave it out"),
    ("response_format", |value| value["type"] == "text", "leave it out or send {\"type\":\"text\"}"),
    ("modalities", |value| *value == serde_json::json!(["text"]), "leave it out"),
];

fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), ApiError> {
    for (name, harmless, hint) in UNSUPPORTED {
        fields.refuse_unless(name, *harmless, hint)?;
    }
    if fields.get::<Value>("tool_choice", "JSON")?.is_none_or(|choice| choice != "none") {
        fields.refuse_unless("tools", is_empty, "leave it out or send \"tool_choice\":\"none\"")?;
    }
    Ok(())
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
}
