//! From the body of Anthropic's messages API to the chat request that vLLM makes of it.
//!
//! Tool results become messages of their own before the one they came in, thoughts become reasoning, and a system prompt that is not the
//! first message is moved there where the model's template takes it nowhere else.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::chat::{ChatRequest, Untokenized};

/// Claude Code's line on who pays. It is another one in each request, so vLLM leaves it out.
const BILLING: &str = "x-anthropic-billing-header";

/// What of a body is or changes its prompt.
#[derive(Debug, Deserialize)]
pub(crate) struct MessagesRequest {
    system: Option<Content>,
    messages: Vec<Message>,
    tools: Option<Vec<Tool>>,
    thinking: Option<Thinking>,
    output_config: Option<OutputConfig>,
    chat_template_kwargs: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    thinking: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Map<String, Value>>,
    tool_use_id: Option<String>,
    content: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Tool {
    name: String,
    description: Option<String>,
    input_schema: Map<String, Value>,
    strict: Option<bool>,
    defer_loading: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Thinking {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct OutputConfig {
    effort: Option<String>,
}

impl MessagesRequest {
    /// Whether there are system prompts among the messages.
    pub(crate) fn has_system_within(&self) -> bool {
        self.messages.iter().any(|message| message.role == "system")
    }

    /// The chat; system prompts among the messages stay where they are, or are `merged` into the first.
    pub(crate) fn chat(self, merged: bool) -> Result<ChatRequest, Untokenized> {
        let within = self.messages.iter().filter(|message| merged && message.role == "system");
        let system: Vec<_> = self
            .system
            .iter()
            .chain(within.map(|message| &message.content))
            .filter_map(system_text)
            .collect();
        let mut chat = Vec::new();
        if !system.is_empty() {
            chat.push(json!({"role": "system", "content": system.concat()}));
        }
        for Message { role, content } in self.messages {
            match &*role {
                "system" if merged => {}
                "system" => {
                    chat.extend(system_text(&content).map(|text| json!({"role": "system", "content": text})));
                }
                _ => said(&role, content, &mut chat)?,
            }
        }
        let objects = chat.into_iter().filter_map(|message| match message {
            Value::Object(message) => Some(message),
            _ => None,
        });
        let off = self.thinking.filter(|thinking| thinking.kind == "disabled").map(|_| "none".to_owned());
        let effort = off.or(self.output_config.and_then(|config| config.effort));
        Ok(ChatRequest {
            messages: objects.collect(),
            tools: self.tools.map(|tools| tools.into_iter().map(Tool::function).collect()),
            reasoning_effort: effort.map(Value::String),
            chat_template_kwargs: self.chat_template_kwargs,
            ..ChatRequest::default()
        })
    }
}

impl Tool {
    fn function(self) -> Value {
        let Self { name, description, input_schema, strict, defer_loading } = self;
        json!({"type": "function", "function": {
            "name": name, "description": description, "parameters": input_schema, "strict": strict, "defer_loading": defer_loading,
        }})
    }
}

fn system_text(content: &Content) -> Option<String> {
    let counts = |text: &&str| !text.is_empty() && !text.starts_with(BILLING);
    let text: String = match content {
        Content::Text(text) => Some(&**text).filter(counts).unwrap_or_default().to_owned(),
        Content::Blocks(blocks) => {
            let texts = blocks.iter().filter(|block| block.kind == "text");
            texts.filter_map(|block| block.text.as_deref()).filter(counts).collect()
        }
    };
    (!text.is_empty()).then_some(text)
}

/// A message of user or assistant, with the results of tools before it.
fn said(role: &str, content: Content, chat: &mut Vec<Value>) -> Result<(), Untokenized> {
    let blocks = match content {
        Content::Text(text) => {
            chat.push(json!({"role": role, "content": text}));
            return Ok(());
        }
        Content::Blocks(blocks) => blocks,
    };
    let (mut parts, mut calls, mut reasoning) = (Vec::new(), Vec::new(), String::new());
    for block in blocks {
        match &*block.kind {
            "text" => parts.extend(block.text.filter(|text| !text.is_empty())),
            "thinking" => reasoning += &block.thinking.unwrap_or_default(),
            "redacted_thinking" => {}
            "tool_use" => calls.push(call(block)),
            "tool_result" if role == "user" => chat.push(result(block)?),
            "image" | "document" => return Err(Untokenized::Media),
            _ => return Err(Untokenized::Option("content blocks of a kind that is not known")),
        }
    }
    if role == "user" && parts.is_empty() {
        return Ok(());
    }
    let mut message = Map::from_iter([("role".to_owned(), Value::from(role))]);
    if !reasoning.is_empty() {
        message.insert("reasoning".to_owned(), reasoning.into());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    if !parts.is_empty() {
        message.insert("content".to_owned(), parts.into());
    }
    chat.push(Value::Object(message));
    Ok(())
}

fn call(block: Block) -> Value {
    let Block { id, name, input, .. } = block;
    json!({
        "id": id.unwrap_or_default(), "type": "function",
        "function": {"name": name.unwrap_or_default(), "arguments": input.unwrap_or_default()},
    })
}

fn result(block: Block) -> Result<Value, Untokenized> {
    let text = match block.content {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => {
            let text = |part: &Value| match part["type"].as_str() {
                Some("text") => Ok(part["text"].as_str().unwrap_or_default().to_owned()),
                _ => Err(Untokenized::Media),
            };
            parts.iter().map(text).collect::<Result<Vec<_>, _>>()?.join("\n")
        }
        Some(_) => return Err(Untokenized::Media),
    };
    Ok(json!({"role": "tool", "tool_call_id": block.tool_use_id.unwrap_or_default(), "content": text}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: Value, merged: bool) -> Result<ChatRequest, Untokenized> {
        serde_json::from_value::<MessagesRequest>(body)?.chat(merged)
    }

    fn messages(body: Value, merged: bool) -> Value {
        let chat = chat(body, merged).expect("it is text");
        chat.messages.into_iter().map(Value::Object).collect()
    }

    #[test]
    fn the_system_prompt_comes_first_without_the_line_on_who_pays() {
        let body = json!({
            "system": [{"type": "text", "text": "x-anthropic-billing-header: 7"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            "messages": [{"role": "user", "content": "c"}, {"role": "system", "content": "d"}, {"role": "user", "content": "e"}],
        });
        let user = |text: &str| json!({"role": "user", "content": text});
        let system = |text: &str| json!({"role": "system", "content": text});
        assert_eq!(messages(body.clone(), false), json!([system("ab"), user("c"), system("d"), user("e")]));
        assert_eq!(messages(body, true), json!([system("abd"), user("c"), user("e")]));
    }

    #[test]
    fn calls_and_results_of_tools_are_messages_as_in_chats() {
        let body = json!({"messages": [
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"b": 1, "a": 2}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t2"}, {"type": "text", "text": "go on"}]},
        ]});
        let expected = json!([
            {"role": "assistant", "reasoning": "hm", "content": ["I look."],
             "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "look", "arguments": {"b": 1, "a": 2}}}]},
            {"role": "tool", "tool_call_id": "t1", "content": "x\ny"},
            {"role": "tool", "tool_call_id": "t2", "content": ""},
            {"role": "user", "content": ["go on"]},
        ]);
        assert_eq!(messages(body, false), expected);
    }

    #[test]
    fn thinking_that_is_off_is_no_effort() {
        let effort = |extra: Value| {
            let mut body = json!({"messages": []});
            body.as_object_mut().expect("an object").extend(extra.as_object().expect("one").clone());
            chat(body, false).expect("it is text").reasoning_effort
        };
        assert_eq!(effort(json!({})), None);
        assert_eq!(effort(json!({"thinking": {"type": "disabled"}})), Some("none".into()));
        assert_eq!(effort(json!({"thinking": {"type": "enabled", "budget_tokens": 2048}})), None);
        assert_eq!(effort(json!({"output_config": {"effort": "low"}})), Some("low".into()));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let image = json!([{"type": "image", "source": {"type": "url", "url": "u"}}]);
        let shown = json!([{"type": "tool_result", "tool_use_id": "t", "content": image}]);
        let added = json!([{"type": "tool_addition", "tool": {}}]);
        for (content, cause) in [(image, "media"), (shown, "media"), (added, "option"), (json!(7), "body")] {
            let body = json!({"messages": [{"role": "user", "content": content}]});
            assert_eq!(chat(body.clone(), false).unwrap_err().cause(), cause, "{body}");
        }
    }
}
