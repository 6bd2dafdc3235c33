//! From the body of OpenAI's responses API to the chat request that vLLM makes of it.
//!
//! What the model said before comes in several items, which are joined to one message: thoughts, then text, then calls of tools. What goes
//! on from an earlier response cannot be told from the body: only the worker has that.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::chat::{ChatRequest, Untokenized};

/// What of a body is or changes its prompt.
#[derive(Debug, Deserialize)]
pub(crate) struct ResponsesRequest {
    instructions: Option<String>,
    input: Input,
    previous_response_id: Option<Value>,
    prompt: Option<Value>,
    tools: Option<Vec<Map<String, Value>>>,
    reasoning: Option<Reasoning>,
    chat_template_kwargs: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Items(Vec<Map<String, Value>>),
}

#[derive(Debug, Deserialize)]
struct Reasoning {
    effort: Option<Value>,
}

impl ResponsesRequest {
    pub(crate) fn chat(self) -> Result<ChatRequest, Untokenized> {
        let changed =
            [(self.previous_response_id, "a previous_response_id"), (self.prompt, "a prompt template")];
        if let Some((_, what)) =
            changed.into_iter().find(|(value, _)| value.as_ref().is_some_and(|value| !value.is_null()))
        {
            return Err(Untokenized::Option(what));
        }
        let mut chat = Vec::new();
        if let Some(instructions) = self.instructions.filter(|text| !text.is_empty()) {
            chat.push(object(json!({"role": "system", "content": instructions})));
        }
        match self.input {
            Input::Text(text) => chat.push(object(json!({"role": "user", "content": text}))),
            Input::Items(items) => {
                let instructed = chat.len();
                for item in items {
                    // Only what came in is joined.
                    let before =
                        chat[instructed..].last_mut().filter(|message| message["role"] == "assistant");
                    if let Some(message) = read(item, before)? {
                        chat.push(message);
                    }
                }
            }
        }
        let tools =
            self.tools.unwrap_or_default().into_iter().map(function).collect::<Result<Vec<_>, _>>()?;
        Ok(ChatRequest {
            messages: chat,
            tools: Some(tools).filter(|tools| !tools.is_empty()),
            reasoning_effort: self.reasoning.and_then(|reasoning| reasoning.effort),
            chat_template_kwargs: self.chat_template_kwargs,
            ..ChatRequest::default()
        })
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// The message that an item is, unless it goes on with what the assistant said `before`.
fn read(
    mut item: Map<String, Value>,
    before: Option<&mut Map<String, Value>>,
) -> Result<Option<Map<String, Value>>, Untokenized> {
    if matches!(item.get("status").and_then(Value::as_str), Some("in_progress" | "incomplete")) {
        return Err(Untokenized::Option("an item that is to be gone on with"));
    }
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) => Ok(text),
        _ => Err(Untokenized::Media),
    };
    let kind = item.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    match &*kind {
        "function_call" if item.get("namespace").is_none_or(Value::is_null) => {
            let (id, name) = (text(item.remove("call_id"))?, text(item.remove("name"))?);
            let arguments = text(item.remove("arguments"))?;
            let call =
                json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
            let calls = before.map(|before| before.entry("tool_calls").or_insert_with(|| json!([])));
            if let Some(Value::Array(calls)) = calls {
                calls.push(call);
                return Ok(None);
            }
            Ok(Some(object(json!({"role": "assistant", "tool_calls": [call]}))))
        }
        "function_call_output" => {
            let (output, id) = (item.remove("output").unwrap_or_default(), text(item.remove("call_id"))?);
            Ok(Some(object(json!({"role": "tool", "content": output, "tool_call_id": id}))))
        }
        "message" if item.get("role").is_some_and(|role| role == "assistant") => {
            let said = match item.remove("content") {
                Some(Value::Array(mut parts)) if !parts.is_empty() => text(Some(parts[0]["text"].take()))?,
                content => text(content)?,
            };
            Ok(joined(before, "content", said))
        }
        "message" if item.contains_key("role") => Ok(Some(item)),
        "reasoning" if item.get("encrypted_content").is_none_or(Value::is_null) => {
            let first = |key: &str| item.get(key).and_then(|parts| parts[0]["text"].as_str());
            let thought = first("content").or_else(|| first("summary")).unwrap_or_default().to_owned();
            Ok(joined(before, "reasoning", thought))
        }
        _ => Err(Untokenized::Option("items of a kind that is not known")),
    }
}

/// Put to what was said before, if that lacks it.
fn joined(before: Option<&mut Map<String, Value>>, key: &str, text: String) -> Option<Map<String, Value>> {
    match before.filter(|before| !before.contains_key(key)) {
        Some(before) => {
            before.insert(key.to_owned(), text.into());
            None
        }
        None => Some(object(json!({"role": "assistant", key: text}))),
    }
}

/// A tool as chats have it.
fn function(mut tool: Map<String, Value>) -> Result<Value, Untokenized> {
    if tool.remove("type").is_none_or(|kind| kind != "function") {
        return Err(Untokenized::Option("tools that are no functions"));
    }
    Ok(json!({"type": "function", "function": tool}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: Value) -> Result<ChatRequest, Untokenized> {
        serde_json::from_value::<ResponsesRequest>(body)?.chat()
    }

    fn messages(body: Value) -> Value {
        chat(body).expect("it is text").messages.into_iter().map(Value::Object).collect()
    }

    #[test]
    fn a_text_is_what_the_user_says_after_the_instructions() {
        let expected = json!([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]);
        assert_eq!(messages(json!({"instructions": "a", "input": "b"})), expected);
    }

    #[test]
    fn what_the_model_said_is_one_message() {
        let body = json!({"input": [
            {"role": "user", "content": [{"type": "input_text", "text": "q"}]},
            {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "id": "m", "status": "completed", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{\"a\": 1}"},
            {"type": "function_call_output", "call_id": "c1", "output": "x"},
        ]});
        let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}});
        let expected = json!([
            {"role": "user", "content": [{"type": "input_text", "text": "q"}]},
            {"role": "assistant", "reasoning": "hm", "content": "I look.", "tool_calls": [call("c1", "{}"), call("c2", "{\"a\": 1}")]},
            {"role": "tool", "content": "x", "tool_call_id": "c1"},
        ]);
        assert_eq!(messages(body), expected);
    }

    #[test]
    fn what_only_the_worker_knows_is_refused() {
        for (body, cause) in [
            (json!({"input": "a", "previous_response_id": "resp_1"}), "option"),
            (json!({"input": "a", "tools": [{"type": "web_search"}]}), "option"),
            (json!({"input": [{"type": "item_reference", "id": "x"}]}), "option"),
            (json!({"input": [{"role": "assistant", "content": "x", "status": "incomplete"}]}), "option"),
            (json!({"input": 7}), "body"),
        ] {
            assert_eq!(chat(body.clone()).unwrap_err().cause(), cause, "{body}");
        }
        assert!(chat(json!({"input": "a", "previous_response_id": null})).is_ok());
    }
}
