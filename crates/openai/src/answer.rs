//! The head that every part of one answer shares (id, time, model), and the parts made from it.
//!
//! A worker makes one head per request and derives the whole answer, or each chunk of the stream, from it; so ids and
//! `object` words cannot drift apart between chunks.

use crate::response::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, Completion, CompletionChoice,
    CompletionChunk, Delta, FinishReason, Usage,
};

/// What all chunks of one answer share.
///
/// A chat stream is [`chat_start`](Self::chat_start), then [`chat_delta`](Self::chat_delta) for each piece of text, then
/// [`chat_end`](Self::chat_end), then [`chat_usage`](Self::chat_usage) if it was asked for, then [`crate::sse::DONE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerHead {
    /// `cmpl-...` or `chatcmpl-...`.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's served name.
    pub model: String,
}

impl AnswerHead {
    /// A whole completion.
    pub fn completion(&self, text: String, finish: FinishReason, usage: Usage) -> Completion {
        let choice = CompletionChoice { index: 0, text, finish_reason: Some(finish) };
        self.text_completion(vec![choice], Some(usage))
    }

    /// A chunk of a completion stream; `finish` in the last one only.
    pub fn completion_chunk(&self, text: impl Into<String>, finish: Option<FinishReason>) -> CompletionChunk {
        let choice = CompletionChoice { index: 0, text: text.into(), finish_reason: finish };
        self.text_completion(vec![choice], None)
    }

    /// The usage chunk of a completion stream.
    pub fn completion_usage(&self, usage: Usage) -> CompletionChunk {
        self.text_completion(Vec::new(), Some(usage))
    }

    /// A whole chat completion.
    pub fn chat(&self, text: String, finish: FinishReason, usage: Usage) -> ChatCompletion {
        let message = AssistantMessage { role: "assistant".to_owned(), content: Some(text) };
        ChatCompletion {
            id: self.id.clone(),
            object: "chat.completion".to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices: vec![ChatChoice { index: 0, message, finish_reason: Some(finish) }],
            usage: Some(usage),
        }
    }

    /// The first chunk of a chat stream: whose turn it is, no text yet.
    pub fn chat_start(&self) -> ChatChunk {
        let delta = Delta { role: Some("assistant".to_owned()), content: Some(String::new()) };
        self.chat_chunk(vec![ChatChunkChoice { index: 0, delta, finish_reason: None }], None)
    }

    /// A chunk of a chat stream with more text.
    pub fn chat_delta(&self, text: impl Into<String>) -> ChatChunk {
        let delta = Delta { role: None, content: Some(text.into()) };
        self.chat_chunk(vec![ChatChunkChoice { index: 0, delta, finish_reason: None }], None)
    }

    /// The chunk that says why a chat stream ended.
    pub fn chat_end(&self, finish: FinishReason) -> ChatChunk {
        let choice = ChatChunkChoice { index: 0, delta: Delta::default(), finish_reason: Some(finish) };
        self.chat_chunk(vec![choice], None)
    }

    /// The usage chunk of a chat stream.
    pub fn chat_usage(&self, usage: Usage) -> ChatChunk {
        self.chat_chunk(Vec::new(), Some(usage))
    }

    fn text_completion(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>) -> Completion {
        Completion {
            id: self.id.clone(),
            object: "text_completion".to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
        }
    }

    fn chat_chunk(&self, choices: Vec<ChatChunkChoice>, usage: Option<Usage>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(part: &impl serde::Serialize) -> String {
        serde_json::to_string(part).unwrap()
    }

    #[test]
    fn a_chat_stream_has_openai_s_shape() {
        let head = AnswerHead { id: "chatcmpl-1".into(), created: 5, model: "m".into() };
        let start =
            r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"m","choices":["#;
        let parts = [
            (
                head.chat_start(),
                r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            ),
            (head.chat_delta("Hi"), r#"{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#),
            (head.chat_end(FinishReason::Length), r#"{"index":0,"delta":{},"finish_reason":"length"}]}"#),
            (
                head.chat_usage(Usage::new(4, 3, 1)),
                r#"],"usage":{"prompt_tokens":4,"completion_tokens":1,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":3}}}"#,
            ),
        ];
        for (part, end) in parts {
            assert_eq!(json(&part), format!("{start}{end}"));
        }
    }

    #[test]
    fn a_completion_has_openai_s_shape_whole_and_in_chunks() {
        let head = AnswerHead { id: "cmpl-1".into(), created: 5, model: "m".into() };
        let start = r#"{"id":"cmpl-1","object":"text_completion","created":5,"model":"m","choices":["#;
        let chunk = r#"{"index":0,"text":"a","finish_reason":null}]}"#;
        assert_eq!(json(&head.completion_chunk("a", None)), format!("{start}{chunk}"));
        let whole = json(&head.completion("a".into(), FinishReason::Stop, Usage::reported(4, None, 1)));
        let end = r#"{"index":0,"text":"a","finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":1,"total_tokens":5}}"#;
        assert_eq!(whole, format!("{start}{end}"));
    }

    #[test]
    fn answers_of_other_engines_are_read_too() {
        let vllm = r#"{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":
            {"role":"assistant","content":null,"tool_calls":[{}]},"logprobs":null,"finish_reason":"tool_calls"}],"usage":null}"#;
        let answer: ChatCompletion = serde_json::from_str(vllm).unwrap();
        assert_eq!(answer.choices[0].finish_reason, Some(FinishReason::Other));
    }
}
