//! From the body of a chat request to the conversation that its template sees, as vLLM prepares it.
//!
//! Clients send content as text or parts, arguments of tool calls as JSON in a string, tools in any order of keys; templates see one form.
//! What cannot be told from the body alone, such as images, is refused, so that the request is routed by its text instead.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::template::{Conversation, TemplateError};
use crate::text::TextError;

/// Why the tokens of a request's prompt cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Untokenized {
    /// The template refuses the conversation.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The tokenizer fails.
    #[error(transparent)]
    Tokenizer(#[from] TextError),
    /// It has images, sound or anything else that is no text.
    #[error("the prompt has parts that are no text")]
    Media,
    /// It asks for something that changes the prompt in a way that is not known here.
    #[error("the request has {0}, which changes the prompt")]
    Option(&'static str),
    /// It has several prompts, or none.
    #[error("the request has several prompts, or none")]
    Several,
    /// The body is not what the API expects.
    #[error("the body is not of the API's form: {0}")]
    Body(#[from] serde_json::Error),
}

impl Untokenized {
    /// The cause in a word.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Template(_) => "template",
            Self::Tokenizer(_) => "tokenizer",
            Self::Media => "media",
            Self::Option(_) => "option",
            Self::Several => "prompts",
            Self::Body(_) => "body",
        }
    }
}

/// What of a chat request's body is or changes its prompt.
#[derive(Debug, Default, Deserialize)]
pub struct ChatRequest {
    pub(crate) messages: Vec<Map<String, Value>>,
    pub(crate) tools: Option<Vec<Value>>,
    pub(crate) documents: Option<Value>,
    pub(crate) add_generation_prompt: Option<bool>,
    pub(crate) continue_final_message: Option<bool>,
    pub(crate) add_special_tokens: Option<bool>,
    pub(crate) chat_template: Option<Value>,
    pub(crate) chat_template_kwargs: Option<Map<String, Value>>,
    pub(crate) reasoning_effort: Option<Value>,
    pub(crate) truncate_prompt_tokens: Option<Value>,
}

impl ChatRequest {
    /// Whether the prompt of this body could be told, as far as the body goes: for who leaves it to somebody else to tell it.
    ///
    /// # Errors
    /// If it could not.
    pub fn check(body: &[u8]) -> Result<(), Untokenized> {
        serde_json::from_slice::<Self>(body)?.conversation(false).map(drop)
    }

    /// The conversation for a template that takes the content of messages as parts, or as text.
    pub(crate) fn conversation(self, parts: bool) -> Result<Conversation, Untokenized> {
        let changed = [
            (self.chat_template.is_some(), "a chat_template"),
            (self.truncate_prompt_tokens.is_some(), "truncate_prompt_tokens"),
        ];
        if let Some((_, what)) = changed.into_iter().find(|(set, _)| *set) {
            return Err(Untokenized::Option(what));
        }
        let mut others = self.chat_template_kwargs.unwrap_or_default();
        if let Some(effort) = self.reasoning_effort.filter(|effort| !effort.is_null()) {
            // Some templates think only if they are told to, in words of their own.
            others.entry("enable_thinking").or_insert((effort != "none").into());
            others.insert("reasoning_effort".to_owned(), effort);
        }
        let tools = self.tools.map(|tools| tools.into_iter().map(tool).collect());
        Ok(Conversation {
            messages: self.messages.into_iter().map(|sent| message(sent, parts)).collect::<Result<_, _>>()?,
            tools,
            documents: self.documents,
            add_generation_prompt: self.add_generation_prompt.unwrap_or(true),
            continue_final_message: self.continue_final_message.unwrap_or(false),
            others,
        })
    }
}

/// A message as templates expect it.
fn message(mut sent: Map<String, Value>, parts: bool) -> Result<Value, Untokenized> {
    let role = sent.get("role").and_then(Value::as_str).unwrap_or_default().to_owned();
    let texts = texts(sent.remove("content"))?;
    let content = match parts && role != "tool" {
        true => texts.into_iter().map(|text| json!({"type": "text", "text": text})).collect(),
        false => Value::String(texts.join("\n")),
    };
    let mut seen = Map::new();
    seen.insert("role".to_owned(), role.clone().into());
    seen.insert("content".to_owned(), content);
    let mut keep = |key: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            seen.insert(key.to_owned(), value);
        }
    };
    match &*role {
        "assistant" => {
            let calls = sent.remove("tool_calls").and_then(calls);
            keep("tool_calls", calls);
            let reasoning = [sent.remove("reasoning"), sent.remove("reasoning_content")];
            let reasoning = reasoning.into_iter().flatten().find(|said| !said.is_null());
            keep("reasoning", reasoning.clone());
            keep("reasoning_content", reasoning);
        }
        "tool" => keep("tool_call_id", sent.remove("tool_call_id")),
        "developer" => keep("tools", sent.remove("tools")),
        _ => {}
    }
    keep("name", sent.remove("name").filter(Value::is_string));
    Ok(Value::Object(seen))
}

/// The texts of a content, which may be one, parts, or nothing.
fn texts(content: Option<Value>) -> Result<Vec<String>, Untokenized> {
    match content {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(parts)) => parts.into_iter().map(part).collect(),
        Some(_) => Err(Untokenized::Media),
    }
}

fn part(part: Value) -> Result<String, Untokenized> {
    let text = match part {
        Value::String(text) => Some(text),
        Value::Object(mut part) => {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
            let key = match kind {
                "text" | "input_text" | "output_text" => "text",
                "refusal" => "refusal",
                "thinking" => "thinking",
                _ => return Err(Untokenized::Media),
            };
            part.remove(key).and_then(|text| text.as_str().map(str::to_owned))
        }
        _ => None,
    };
    text.ok_or(Untokenized::Media)
}

/// Tool calls with their arguments as values; none if there are none.
fn calls(calls: Value) -> Option<Value> {
    let Value::Array(mut calls) = calls else { return None };
    for call in &mut calls {
        let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) else { continue };
        let read = match function.get("arguments") {
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_else(|_| json!({})),
            Some(given @ (Value::Object(_) | Value::Array(_))) => given.clone(),
            _ => json!({}),
        };
        function.insert("arguments".to_owned(), read);
    }
    (!calls.is_empty()).then_some(Value::Array(calls))
}

/// A tool with its keys in the order in which vLLM declares them, those that are missing as null, and others behind.
fn tool(tool: Value) -> Value {
    let Value::Object(mut tool) = tool else { return tool };
    let Some(Value::Object(mut function)) = tool.remove("function") else { return Value::Object(tool) };
    let mut ordered = Map::new();
    for key in ["name", "description", "parameters"] {
        ordered.insert(key.to_owned(), function.remove(key).unwrap_or_default());
    }
    ordered.extend(function.into_iter().filter(|(_, value)| !value.is_null()));
    let mut whole = Map::new();
    whole.insert("type".to_owned(), tool.remove("type").unwrap_or_else(|| "function".into()));
    whole.insert("function".to_owned(), Value::Object(ordered));
    whole.extend(tool);
    Value::Object(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(body: Value, parts: bool) -> Result<Conversation, Untokenized> {
        serde_json::from_value::<ChatRequest>(body)?.conversation(parts)
    }

    fn message_of(message: Value, parts: bool) -> Value {
        conversation(json!({ "messages": [message] }), parts).expect("it is text").messages.remove(0)
    }

    #[test]
    fn content_is_one_text_or_parts_as_the_template_wants_it() {
        let text = json!({"role": "user", "content": "a"});
        assert_eq!(message_of(text.clone(), false), text);
        let one = json!([{"type": "text", "text": "a"}]);
        assert_eq!(message_of(text, true)["content"], one);
        let two = json!({"role": "user", "content": [{"type": "text", "text": "a"}, "b"], "unknown": 1});
        assert_eq!(message_of(two, false), json!({"role": "user", "content": "a\nb"}));
        assert_eq!(message_of(json!({"role": "assistant", "content": null}), false)["content"], "");
        let told = json!({"role": "tool", "content": [{"type": "text", "text": "a"}], "tool_call_id": "c"});
        assert_eq!(message_of(told, true), json!({"role": "tool", "content": "a", "tool_call_id": "c"}));
    }

    #[test]
    fn arguments_of_tool_calls_are_values() {
        let call = |arguments: Value| {
            let calls =
                json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]);
            let seen = message_of(json!({"role": "assistant", "content": null, "tool_calls": calls}), false);
            seen["tool_calls"][0]["function"]["arguments"].clone()
        };
        assert_eq!(call(json!("{\"b\": 1, \"a\": [2]}")).to_string(), r#"{"b":1,"a":[2]}"#);
        for broken in [json!(""), json!("{"), json!(null)] {
            assert_eq!(call(broken), json!({}));
        }
        let none = message_of(json!({"role": "assistant", "content": "x", "tool_calls": []}), false);
        assert_eq!(none, json!({"role": "assistant", "content": "x"}));
    }

    #[test]
    fn tools_are_in_the_order_in_which_vllm_writes_them() {
        let sent = json!({"function": {"strict": true, "parameters": {"b": 1, "a": 2}, "name": "f"}, "type": "function"});
        let expected = r#"{"type":"function","function":{"name":"f","description":null,"parameters":{"b":1,"a":2},"strict":true}}"#;
        assert_eq!(tool(sent).to_string(), expected);
    }

    #[test]
    fn what_is_no_text_or_changes_the_prompt_is_refused() {
        let image = json!([{"type": "image_url", "image_url": {"url": "data:"}}]);
        for (body, cause) in [
            (json!({"messages": [{"role": "user", "content": image}]}), "media"),
            (json!({"messages": [], "chat_template": "{{ x }}"}), "option"),
            (json!({"messages": [], "truncate_prompt_tokens": 7}), "option"),
            (json!({"messages": "Hello"}), "body"),
            (json!({"prompt": "Hello"}), "body"),
        ] {
            assert_eq!(conversation(body.clone(), false).unwrap_err().cause(), cause, "{body}");
        }
    }

    #[test]
    fn template_arguments_are_seen_by_their_names() {
        let others = |body: Value| Value::Object(conversation(body, false).expect("it is text").others);
        let told = json!({"messages": [], "chat_template_kwargs": {"enable_thinking": false}, "reasoning_effort": "low"});
        assert_eq!(others(told), json!({"reasoning_effort": "low", "enable_thinking": false}));
        for (effort, thinks) in [("low", true), ("none", false)] {
            let told = json!({"messages": [], "reasoning_effort": effort});
            assert_eq!(others(told), json!({"reasoning_effort": effort, "enable_thinking": thinks}));
        }
    }
}
