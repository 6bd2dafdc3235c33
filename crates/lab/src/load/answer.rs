//! An answer as it grows, chunk by chunk; pure, so that every odd stream can be a unit test.

use std::time::Duration;

use serde::Deserialize;
use warmroute_kv::Tokens;
use warmroute_openai::ApiError;
use warmroute_openai::response::{Delta, Usage};

use super::{Failure, Said};

/// What has been heard so far.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) said: Said,
    pub(super) first_text: Option<Duration>,
    pub(super) prompt: Tokens,
    pub(super) cached: Tokens,
    pub(super) done: bool,
}

impl Default for Draft {
    fn default() -> Self {
        let said = Said { text: String::new(), tokens: Tokens::ZERO, finish: None };
        Self { said, first_text: None, prompt: Tokens::ZERO, cached: Tokens::ZERO, done: false }
    }
}

/// A chunk of either endpoint, with everything optional: engines differ in what they leave out.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

impl Draft {
    /// Takes in the data of one event that came `elapsed` after the request was sent.
    pub(super) fn read(&mut self, data: &str, elapsed: Duration) -> Result<(), Failure> {
        if data.trim() == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        if let Some(error) = ApiError::from_body(200, data.as_bytes()) {
            return Err(Failure { status: Some(200), message: error.message });
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|error| Failure {
            status: Some(200),
            message: format!("an event is not a completion chunk: {error}"),
        })?;
        for choice in chunk.choices {
            self.hear(choice, elapsed);
        }
        if let Some(usage) = chunk.usage {
            self.prompt = Tokens(usage.prompt_tokens);
            self.cached = Tokens(usage.cached_tokens().unwrap_or(0));
            self.said.tokens = Tokens(usage.completion_tokens);
        }
        Ok(())
    }

    fn hear(&mut self, choice: Choice, elapsed: Duration) {
        let text = choice.text.or_else(|| choice.delta.and_then(|delta| delta.content)).unwrap_or_default();
        // A chat's first chunk carries a role and no text: the first token is the first text.
        if !text.is_empty() {
            self.first_text.get_or_insert(elapsed);
        }
        self.said.text.push_str(&text);
        if choice.finish_reason.is_some() {
            self.said.finish = choice.finish_reason;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(events: &[&str]) -> Result<Draft, Failure> {
        let mut draft = Draft::default();
        for (milliseconds, event) in (1..).zip(events) {
            draft.read(event, Duration::from_millis(milliseconds))?;
        }
        Ok(draft)
    }

    #[test]
    fn the_first_text_of_a_chat_comes_after_the_role() {
        let draft = draft(&[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"Good"}}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":" day"},"finish_reason":"length"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":70,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":64}}}"#,
            "[DONE]",
        ])
        .unwrap();
        assert_eq!(draft.first_text, Some(Duration::from_millis(2)));
        assert_eq!((draft.prompt, draft.cached, draft.done), (Tokens(70), Tokens(64), true));
        let said = Said { text: "Good day".to_owned(), tokens: Tokens(2), finish: Some("length".to_owned()) };
        assert_eq!(draft.said, said);
    }

    #[test]
    fn a_completion_without_cache_details_counts_nothing_cached() {
        let draft = draft(&[
            r#"{"choices":[{"text":"one","index":0,"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3}}"#,
        ])
        .unwrap();
        assert_eq!((draft.said.text.as_str(), draft.cached, draft.done), ("one", Tokens::ZERO, false));
    }

    #[test]
    fn an_error_event_and_rubbish_are_failures() {
        let error = draft(&[r#"{"error":{"message":"worker is gone","type":"x"}}"#]).unwrap_err();
        assert_eq!(error.message, "worker is gone");
        assert!(draft(&["<html>"]).unwrap_err().message.contains("not a completion chunk"));
    }
}
