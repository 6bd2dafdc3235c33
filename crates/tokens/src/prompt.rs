//! The tokens of a request's prompt, in three steps, so that a caller may choose where the last one runs: read, weigh, tokenize.

use serde::Deserialize;
use serde_json::Value;
use warmroute_kv::TokenId;

use crate::chat::{ChatRequest, Untokenized};
use crate::messages::MessagesRequest;
use crate::responses::ResponsesRequest;
use crate::template::ChatTemplate;
use crate::text::TextCodec;

/// A model's tokenizer and chat template together.
#[derive(Debug)]
pub struct PromptTokenizer {
    codec: TextCodec,
    template: ChatTemplate,
}

/// A prompt that is read and not yet tokenized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// As a template wrote it, special tokens included.
    Rendered(String),
    /// As a client wrote it: what the model expects around it is still to come.
    Raw(String),
    /// Tokens as a client chose them.
    Tokens(Vec<TokenId>),
}

/// What of a completion request's body is or changes its prompt.
#[derive(Debug, Deserialize)]
struct CompletionRequest {
    prompt: Value,
    prompt_embeds: Option<Value>,
    add_special_tokens: Option<bool>,
    truncate_prompt_tokens: Option<Value>,
}

impl Prompt {
    /// Reads the body of `/v1/completions`.
    ///
    /// # Errors
    /// If it has not exactly one prompt of text or tokens.
    pub fn of_completion(body: &[u8]) -> Result<Self, Untokenized> {
        let request: CompletionRequest = serde_json::from_slice(body)?;
        if request.truncate_prompt_tokens.is_some() {
            return Err(Untokenized::Option("truncate_prompt_tokens"));
        }
        if request.prompt_embeds.is_some_and(|embeds| !embeds.is_null()) {
            return Err(Untokenized::Media);
        }
        let prompt = one_prompt(request.prompt)?;
        Ok(match (prompt, request.add_special_tokens) {
            (Self::Raw(text), Some(false)) => Self::Rendered(text),
            (prompt, _) => prompt,
        })
    }
}

impl PromptTokenizer {
    /// Of its two parts.
    pub fn new(codec: TextCodec, template: ChatTemplate) -> Self {
        Self { codec, template }
    }

    /// The tokenizer.
    pub fn codec(&self) -> &TextCodec {
        &self.codec
    }

    /// The chat template.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// Reads the body of `/v1/chat/completions` and renders it.
    ///
    /// # Errors
    /// If the prompt cannot be told from the body.
    pub fn read_chat(&self, body: &[u8]) -> Result<Prompt, Untokenized> {
        self.rendered(serde_json::from_slice(body)?)
    }

    /// The same for `/v1/messages`.
    ///
    /// # Errors
    /// If the prompt cannot be told from the body.
    pub fn read_messages(&self, body: &[u8]) -> Result<Prompt, Untokenized> {
        let request: MessagesRequest = serde_json::from_slice(body)?;
        let merged = request.has_system_within() && !self.template.takes_system_within();
        self.rendered(request.chat(merged)?)
    }

    /// The same for `/v1/responses`.
    ///
    /// # Errors
    /// If the prompt cannot be told from the body.
    pub fn read_responses(&self, body: &[u8]) -> Result<Prompt, Untokenized> {
        let request: ResponsesRequest = serde_json::from_slice(body)?;
        self.rendered(request.chat()?)
    }

    fn rendered(&self, request: ChatRequest) -> Result<Prompt, Untokenized> {
        let surrounded = request.add_special_tokens.unwrap_or(false);
        let conversation = request.conversation(self.template.takes_parts())?;
        let rendered = self.template.render_conversation(&conversation)?;
        Ok(if surrounded { Prompt::Raw(rendered) } else { Prompt::Rendered(rendered) })
    }

    /// Bytes of the prompt that tokenizing would really have to look at, up to `enough` of them.
    pub fn unknown_bytes(&self, prompt: &Prompt, enough: usize) -> usize {
        match prompt {
            Prompt::Rendered(text) | Prompt::Raw(text) => self.codec.unknown_bytes(text, enough),
            Prompt::Tokens(_) => 0,
        }
    }

    /// The prompt's tokens.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn tokens(&self, prompt: Prompt) -> Result<Vec<TokenId>, Untokenized> {
        Ok(match prompt {
            Prompt::Rendered(text) => self.codec.encode_rendered(&text)?,
            Prompt::Raw(text) => self.codec.encode_prompt(&text)?,
            Prompt::Tokens(tokens) => tokens,
        })
    }
}

/// The prompt, if there is exactly one: as itself, or in a list.
fn one_prompt(prompt: Value) -> Result<Prompt, Untokenized> {
    let parts = match prompt {
        Value::String(text) => return Ok(Prompt::Raw(text)),
        Value::Array(parts) => parts,
        _ => return Err(Untokenized::Several),
    };
    match <[Value; 1]>::try_from(parts) {
        Ok([Value::String(text)]) => Ok(Prompt::Raw(text)),
        Ok([Value::Array(tokens)]) => ids(&tokens),
        Ok(one) => ids(&one),
        Err(several) => ids(&several),
    }
}

fn ids(values: &[Value]) -> Result<Prompt, Untokenized> {
    let id = |value: &Value| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
    let tokens: Option<Vec<TokenId>> = values.iter().map(id).collect();
    tokens.filter(|tokens| !tokens.is_empty()).map(Prompt::Tokens).ok_or(Untokenized::Several)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny;

    #[test]
    fn one_prompt_of_text_or_tokens_is_read_and_several_are_not() {
        let read = |prompt: &str| Prompt::of_completion(format!("{{\"prompt\":{prompt}}}").as_bytes());
        assert_eq!(read("\"a\"").expect("one"), Prompt::Raw("a".to_owned()));
        assert_eq!(read("[\"a\"]").expect("one"), Prompt::Raw("a".to_owned()));
        assert_eq!(read("[1, 2]").expect("one"), Prompt::Tokens(vec![1, 2]));
        assert_eq!(read("[7]").expect("one"), Prompt::Tokens(vec![7]));
        assert_eq!(read("[[1, 2]]").expect("one"), Prompt::Tokens(vec![1, 2]));
        for several in ["[\"a\", \"b\"]", "[[1], [2]]", "[]", "3", "[-1]"] {
            assert_eq!(read(several).expect_err("several").cause(), "prompts", "{several}");
        }
        let body = br#"{"prompt": "a", "truncate_prompt_tokens": 5}"#;
        assert_eq!(Prompt::of_completion(body).expect_err("changed").cause(), "option");
        let body = br#"{"prompt": "a", "add_special_tokens": false}"#;
        assert_eq!(Prompt::of_completion(body).expect("one"), Prompt::Rendered("a".to_owned()));
    }

    #[test]
    fn a_chat_is_rendered_and_tokenized() {
        let tokenizer = PromptTokenizer::new(tiny::codec(), ChatTemplate::plain());
        let body = br#"{"messages": [{"role": "user", "content": "In the beginning"}]}"#;
        let prompt = tokenizer.read_chat(body).expect("it is a chat");
        assert_eq!(prompt, Prompt::Rendered("user: In the beginning\nassistant:".to_owned()));
        let whole = tokenizer.codec().encode_whole("user: In the beginning\nassistant:").expect("encodes");
        assert_eq!(tokenizer.tokens(prompt).expect("encodes"), whole);
    }
}
