//! What clients ask of a worker: completions, chat completions and tokenisation, parsed and checked once at the edge.
//!
//! Refused, because the answer would not be the one asked for: `n` and `best_of` over 1, `echo`, `logprobs`,
//! `prompt_logprobs`, `suffix`, penalties other than none, `logit_bias`, `tools` (unless `tool_choice` is `"none"`),
//! `functions`, a `response_format` other than text, several prompts in one request, and content that is not text.
//! Ignored, because it changes nothing a client can see: everything unknown, and `metadata`, `store`, `service_tier`,
//! `parallel_tool_calls`, `min_tokens` (use `ignore_eos`), ...

use serde::{Deserialize, Deserializer, Serialize};

use crate::ApiError;
use crate::fields::Fields;
pub use crate::options::{GenerationOptions, Sampling, Stop, StreamOptions};

/// OpenAI's (and vLLM's) `max_tokens` of a completion that does not say.
pub const DEFAULT_COMPLETION_TOKENS: u32 = 16;

/// `POST /v1/completions`.
///
/// ```
/// use warmroute_openai::request::{CompletionRequest, Prompt};
/// let request = CompletionRequest::parse(br#"{"model": "tiny", "prompt": "Once", "temperature": 0}"#)?;
/// assert_eq!(request.prompt, Prompt::Text("Once".to_owned()));
/// assert_eq!(request.options.max_tokens, Some(16));
/// assert!(request.options.sampling.is_greedy());
/// # Ok::<(), warmroute_openai::ApiError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompletionRequest {
    /// The model's served name.
    pub model: String,
    /// What to continue.
    pub prompt: Prompt,
    /// How; after [`CompletionRequest::parse`], `max_tokens` is always there.
    #[serde(flatten)]
    pub options: GenerationOptions,
}

/// `POST /v1/chat/completions`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatRequest {
    /// The model's served name.
    pub model: String,
    /// The conversation so far, at least one message.
    pub messages: Vec<ChatMessage>,
    /// How to answer.
    #[serde(flatten)]
    pub options: GenerationOptions,
}

/// `POST /tokenize`, in vLLM's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizeRequest {
    /// The model's served name; may be left out.
    pub model: Option<String>,
    /// What to tokenise.
    pub input: TokenizeInput,
}

/// `POST /detokenize`, in vLLM's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetokenizeRequest {
    /// The model's served name; may be left out.
    pub model: Option<String>,
    /// The ids, in order.
    pub tokens: Vec<u32>,
}

/// What to tokenise: a text as it is, or a conversation through the model's chat template.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenizeInput {
    /// `prompt`.
    Prompt(String),
    /// `messages`, and whether the template opens the assistant's turn (`add_generation_prompt`, true unless sent).
    Messages(Vec<ChatMessage>, bool),
}

/// What to continue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Prompt {
    /// A text, sent as a string or as an array of one string.
    Text(String),
    /// Token ids, sent as an array of numbers or an array of one such array; never empty.
    Tokens(Vec<u32>),
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, ...: whatever the model's template knows.
    pub role: String,
    /// What was said; null (as beside tool calls) is the empty text.
    #[serde(default)]
    pub content: Content,
}

impl ChatMessage {
    /// A message of plain text.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self { role: role.into(), content: Content(text.into()) }
    }
}

/// The text of a message: sent as a string, or as text parts, which are joined by a newline as vLLM does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Content(String);

impl Content {
    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Text(String),
            Parts(Vec<Part>),
            Null(()),
        }
        Ok(Self(match Wire::deserialize(deserializer)? {
            Wire::Text(text) => text,
            Wire::Parts(parts) => {
                let texts: Vec<String> = parts.into_iter().map(|Part::Text { text }| text).collect();
                texts.join("\n")
            }
            Wire::Null(()) => String::new(),
        }))
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    #[serde(alias = "input_text")]
    Text { text: String },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WirePrompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    Lists(Vec<Vec<u32>>),
}

const PROMPT_FORMS: &str = "a string or an array of token ids";
const MESSAGES_FORMS: &str = "an array of {\"role\": string, \"content\": string or text parts}";

impl CompletionRequest {
    /// Parses and checks a body.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let fields = Fields::parse(body)?;
        let model = fields.require("model", "the name of a model")?;
        let prompt = Prompt::from_wire(fields.require("prompt", PROMPT_FORMS)?)?;
        let mut options = GenerationOptions::read(&fields)?;
        options.max_tokens.get_or_insert(DEFAULT_COMPLETION_TOKENS);
        Ok(Self { model, prompt, options })
    }

    /// The JSON body that asks for this.
    pub fn to_body(&self) -> Vec<u8> {
        crate::to_json(self)
    }
}

impl ChatRequest {
    /// Parses and checks a body.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let fields = Fields::parse(body)?;
        let model = fields.require("model", "the name of a model")?;
        let messages = read_messages(&fields)?;
        Ok(Self { model, messages, options: GenerationOptions::read(&fields)? })
    }

    /// The JSON body that asks for this.
    pub fn to_body(&self) -> Vec<u8> {
        crate::to_json(self)
    }
}

impl TokenizeRequest {
    /// Parses and checks a body.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let fields = Fields::parse(body)?;
        let model = fields.get("model", "the name of a model")?;
        let input = match fields.get("prompt", "a string")? {
            Some(prompt) => TokenizeInput::Prompt(prompt),
            None => {
                let open_turn = fields.get("add_generation_prompt", "true or false")?.unwrap_or(true);
                TokenizeInput::Messages(read_messages(&fields)?, open_turn)
            }
        };
        Ok(Self { model, input })
    }
}

impl DetokenizeRequest {
    /// Parses and checks a body.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let fields = Fields::parse(body)?;
        let model = fields.get("model", "the name of a model")?;
        Ok(Self { model, tokens: fields.require("tokens", "an array of token ids")? })
    }
}

impl Prompt {
    fn from_wire(wire: WirePrompt) -> Result<Self, ApiError> {
        let refuse = |cause: &str| {
            Err(ApiError::invalid_param(
                "prompt",
                cause,
                format_args!("send {PROMPT_FORMS}, one per request"),
            ))
        };
        match wire {
            WirePrompt::Text(text) => Ok(Self::Text(text)),
            WirePrompt::Tokens(tokens) if tokens.is_empty() => refuse("is an empty array"),
            WirePrompt::Tokens(tokens) => Ok(Self::Tokens(tokens)),
            WirePrompt::Texts(texts) => match <[String; 1]>::try_from(texts) {
                Ok([text]) => Ok(Self::Text(text)),
                Err(_) => refuse("has several prompts"),
            },
            WirePrompt::Lists(lists) => match <[Vec<u32>; 1]>::try_from(lists) {
                Ok([tokens]) if tokens.is_empty() => refuse("is an empty array"),
                Ok([tokens]) => Ok(Self::Tokens(tokens)),
                Err(_) => refuse("has several prompts"),
            },
        }
    }
}

fn read_messages(fields: &Fields<'_>) -> Result<Vec<ChatMessage>, ApiError> {
    let messages: Vec<ChatMessage> = fields.require("messages", MESSAGES_FORMS)?;
    if messages.is_empty() {
        return Err(ApiError::invalid_param("messages", "is an empty array", "send at least one message"));
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(fields: &str) -> Result<CompletionRequest, ApiError> {
        CompletionRequest::parse(format!(r#"{{"model":"m","prompt":"p"{fields}}}"#).as_bytes())
    }

    fn chat(fields: &str) -> Result<ChatRequest, ApiError> {
        ChatRequest::parse(format!(r#"{{"model":"m",{fields}}}"#).as_bytes())
    }

    #[test]
    fn a_bare_completion_gets_openai_s_defaults() {
        let request = completion("").unwrap();
        let options = GenerationOptions { max_tokens: Some(16), ..GenerationOptions::default() };
        assert_eq!(
            request,
            CompletionRequest { model: "m".into(), prompt: Prompt::Text("p".into()), options }
        );
    }

    #[test]
    fn all_forms_of_a_prompt_are_read_and_several_prompts_are_refused() {
        let prompt = |json: &str| {
            let body = format!(r#"{{"model":"m","prompt":{json}}}"#);
            CompletionRequest::parse(body.as_bytes())
                .map(|request| request.prompt)
                .map_err(|error| error.message)
        };
        assert_eq!(prompt(r#"["p"]"#), Ok(Prompt::Text("p".into())));
        assert_eq!(prompt("[1,2]"), Ok(Prompt::Tokens(vec![1, 2])));
        assert_eq!(prompt("[[1,2]]"), Ok(Prompt::Tokens(vec![1, 2])));
        for refused in ["[]", "[[]]", r#"["a","b"]"#, "[[1],[2]]", "[-1]", "7", "{}", "null"] {
            assert!(prompt(refused).unwrap_err().contains("'prompt'"), "{refused} was read");
        }
    }

    #[test]
    fn every_option_is_read() {
        let request = completion(
            r#","max_tokens":7,"max_completion_tokens":8,"temperature":0.5,"top_p":0.9,"top_k":40,"seed":-1,"stop":"x",
            "stream":true,"stream_options":{"include_usage":true},"cache_salt":"s","ignore_eos":true,"user":"u","n":1,
            "logprobs":null,"presence_penalty":0.0,"unknown":{"a":[1]}"#,
        );
        let expected = GenerationOptions {
            max_tokens: Some(8),
            sampling: Sampling { temperature: 0.5, top_p: 0.9, top_k: Some(40), seed: Some(u64::MAX) },
            stop: Stop::new(vec!["x".into()]).unwrap(),
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            cache_salt: Some("s".into()),
            ignore_eos: true,
            user: Some("u".into()),
        };
        assert_eq!(request.unwrap().options, expected);
    }

    #[test]
    fn what_cannot_be_answered_as_asked_is_refused_by_name() {
        for (param, value) in [
            ("n", "2"),
            ("best_of", "3"),
            ("echo", "true"),
            ("logprobs", "0"),
            ("suffix", "\"s\""),
            ("frequency_penalty", "0.1"),
            ("logit_bias", "{\"5\":1}"),
            ("tools", "[{}]"),
            ("response_format", "{\"type\":\"json_object\"}"),
            ("temperature", "-0.1"),
            ("temperature", "\"hot\""),
            ("top_p", "0"),
            ("top_k", "-2"),
            ("max_tokens", "0"),
            ("max_tokens", "-1"),
            ("max_completion_tokens", "1.5"),
            ("stop", "[\"\"]"),
            ("stream", "\"yes\""),
        ] {
            let error = completion(&format!(",\"{param}\":{value}")).expect_err(param);
            assert_eq!((error.status, error.param.as_deref()), (400, Some(param)));
            assert!(error.message.contains("hint: "), "{error}");
        }
    }

    #[test]
    fn bad_json_is_refused_with_line_and_column() {
        let error = CompletionRequest::parse(b"{\"model\": \"m\",\n\"prompt\": }").unwrap_err();
        assert!(error.message.contains("line 2 column 11"), "{error}");
        assert_eq!(CompletionRequest::parse(b"[]").unwrap_err().code.as_deref(), Some("invalid_json"));
        let error = completion(",\"temperature\":\"hot\"").unwrap_err();
        assert!(
            error.message.starts_with("'temperature' must be a number from 0 to 2, not \"hot\";"),
            "{error}"
        );
    }

    #[test]
    fn content_is_text_or_text_parts_or_null() {
        let messages = chat(
            r#""messages":[{"role":"system","content":"s"},{"role":"assistant","content":null},{"role":"assistant"},
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]"#,
        );
        let expected = [("system", "s"), ("assistant", ""), ("assistant", ""), ("user", "a\nb")];
        assert_eq!(messages.unwrap().messages, expected.map(|(role, text)| ChatMessage::new(role, text)));
        for refused in
            ["[]", "{}", r#"[{"role":"user","content":[{"type":"image_url"}]}]"#, r#"[{"content":"x"}]"#]
        {
            let error = chat(&format!(r#""messages":{refused}"#)).expect_err(refused);
            assert_eq!(error.param.as_deref(), Some("messages"));
        }
    }

    #[test]
    fn tools_are_let_pass_only_where_the_model_need_not_call_them() {
        let messages = r#""messages":[{"role":"user","content":"x"}]"#;
        assert!(chat(&format!(r#"{messages},"tools":[{{}}],"tool_choice":"none""#)).is_ok());
        assert!(chat(&format!(r#"{messages},"tools":[]"#)).is_ok());
        assert!(chat(&format!(r#"{messages},"tools":[{{}}],"tool_choice":"auto""#)).is_err());
    }

    #[test]
    fn what_a_client_writes_is_what_a_worker_reads() {
        let mut request =
            chat(r#""messages":[{"role":"user","content":"x"}],"seed":5,"stop":["a","b"]"#).unwrap();
        request.options.stream_options.include_usage = true;
        request.options.sampling = Sampling { top_k: Some(3), ..Sampling::GREEDY };
        assert_eq!(ChatRequest::parse(&request.to_body()), Ok(request));
        let request = completion(r#","prompt":[3,4],"user":"u""#).unwrap();
        assert_eq!(CompletionRequest::parse(&request.to_body()), Ok(request));
    }
}
