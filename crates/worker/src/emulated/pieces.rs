//! The shape of one answer as bytes: all that stands around its tokens, made once, so that a token costs a copy.
//!
//! Shapes come from the types of `warmroute-openai` where it has them; the marker shows where the text goes.

use serde_json::{Value, json};
use warmroute_openai::response::{FinishReason, Usage};
use warmroute_openai::{AnswerHead, sse};

use super::surface::Surface;

/// Stands for the text while a shape is made. Ids and models cannot contain it behind the text's place.
const TEXT: &str = "@text@";

/// What stands around the tokens of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    /// Before the first token.
    pub(super) opening: Vec<u8>,
    /// Before and after each token.
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
    /// After the last token.
    pub(super) closing: Closing,
}

/// The end of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Closing {
    pub(super) before: Vec<u8>,
    /// What follows the whole text, said again here, where the shape says it again.
    pub(super) again: Vec<Vec<u8>>,
}

/// What is known of an answer when its first token comes.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) head: AnswerHead,
    pub(super) usage: Usage,
    pub(super) finish: FinishReason,
    pub(super) include_usage: bool,
    pub(super) previous: Option<String>,
}

impl Pieces {
    /// An answer in one piece of JSON.
    pub(super) fn whole(surface: Surface, facts: &Facts) -> Self {
        let Facts { head, usage, finish, .. } = facts;
        let body = match surface {
            Surface::Chat => head.chat(TEXT.to_owned(), *finish, *usage).to_body(),
            Surface::Completion => head.completion(TEXT.to_owned(), *finish, *usage).to_body(),
            Surface::Responses => response(facts, "completed", TEXT).to_string().into_bytes(),
            Surface::Messages => {
                message(facts, &json!([{"type": "text", "text": TEXT}]), true).to_string().into_bytes()
            }
        };
        let (opening, closing) = split(&body);
        Self { opening, closing: Closing { before: closing, again: Vec::new() }, ..Self::default() }
    }

    /// An answer as a stream of events.
    pub(super) fn streamed(surface: Surface, facts: &Facts) -> Self {
        let Facts { head, usage, finish, include_usage, .. } = facts;
        match surface {
            Surface::Chat => {
                let mut closing = sse::event(&head.chat_end(*finish));
                if *include_usage {
                    closing.extend(sse::event(&head.chat_usage(*usage)));
                }
                Self::events(sse::event(&head.chat_start()), &sse::event(&head.chat_delta(TEXT)), closing)
            }
            Surface::Completion => {
                let mut closing = sse::event(&head.completion_chunk("", Some(*finish)));
                if *include_usage {
                    closing.extend(sse::event(&head.completion_usage(*usage)));
                }
                Self::events(Vec::new(), &sse::event(&head.completion_chunk(TEXT, None)), closing)
            }
            Surface::Responses => response_events(facts),
            Surface::Messages => message_events(facts),
        }
    }

    fn events(opening: Vec<u8>, token: &[u8], mut closing: Vec<u8>) -> Self {
        let (before, after) = split(token);
        closing.extend(sse::DONE);
        Self { opening, before, after, closing: Closing { before: closing, again: Vec::new() } }
    }
}

/// What stands before and after the last marker.
fn split(shape: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let at = shape.windows(TEXT.len()).rposition(|place| place == TEXT.as_bytes());
    let at = at.expect("every shape was made with the marker in it");
    (shape[..at].to_vec(), shape[at + TEXT.len()..].to_vec())
}

/// An event with a name, as responses and messages have.
fn named(event: &Value) -> Vec<u8> {
    let name = event["type"].as_str().unwrap_or_default();
    [format!("event: {name}\n").into_bytes(), sse::event(event)].concat()
}

fn response(facts: &Facts, status: &str, text: &str) -> Value {
    let Facts { head, usage, previous, .. } = facts;
    let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
    let output = json!([{"type": "message", "id": item(head), "status": status, "role": "assistant", "content": content}]);
    let (output, usage) = match status {
        "completed" => (output, response_usage(usage)),
        _ => (json!([]), Value::Null),
    };
    // The text must come last, but for what no client chooses: the marker is sought from the end.
    json!({
        "id": head.id, "object": "response", "created_at": head.created, "status": status, "error": null,
        "model": head.model, "previous_response_id": previous, "usage": usage, "output": output,
    })
}

fn item(head: &AnswerHead) -> String {
    format!("msg_{}", head.id)
}

fn response_usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens().unwrap_or(0)},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    })
}

/// Events carry no numbers where each token would need another: every client we know reads them in the order they come.
fn response_events(facts: &Facts) -> Pieces {
    let id = item(&facts.head);
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
    let message = |status: &str, content: Value| json!({"type": "message", "id": id, "status": status, "role": "assistant", "content": content});
    let place = |name: &str, more: Value| {
        let mut event = json!({"type": name, "item_id": id, "output_index": 0, "content_index": 0});
        event
            .as_object_mut()
            .expect("it was made as one")
            .extend(more.as_object().cloned().unwrap_or_default());
        event
    };
    let opening = [
        named(&json!({"type": "response.created", "response": response(facts, "in_progress", "")})),
        named(&json!({"type": "response.in_progress", "response": response(facts, "in_progress", "")})),
        named(
            &json!({"type": "response.output_item.added", "output_index": 0, "item": message("in_progress", json!([]))}),
        ),
        named(&place("response.content_part.added", json!({"part": part("")}))),
    ];
    let (before, after) = split(&named(&place("response.output_text.delta", json!({"delta": TEXT}))));
    let endings = [
        named(&place("response.output_text.done", json!({"text": TEXT}))),
        named(&place("response.content_part.done", json!({"part": part(TEXT)}))),
        named(
            &json!({"type": "response.output_item.done", "output_index": 0, "item": message("completed", json!([part(TEXT)]))}),
        ),
        named(&json!({"type": "response.completed", "response": response(facts, "completed", TEXT)})),
    ];
    let mut closing = Closing::default();
    for ending in &endings {
        let (before, after) = split(ending);
        match closing.again.last_mut() {
            None => closing.before = before,
            Some(last) => last.extend(before),
        }
        closing.again.push(after);
    }
    Pieces { opening: opening.concat(), before, after, closing }
}

fn message(facts: &Facts, content: &Value, ended: bool) -> Value {
    let Facts { head, usage, finish, .. } = facts;
    let reason = if *finish == FinishReason::Stop { "end_turn" } else { "max_tokens" };
    let output = if ended { usage.completion_tokens } else { 1 };
    json!({
        "id": head.id, "type": "message", "role": "assistant", "model": head.model, "stop_sequence": null,
        "stop_reason": if ended { json!(reason) } else { Value::Null },
        "usage": message_usage(usage, output), "content": content,
    })
}

/// Anthropic counts what was read from the cache apart from the rest of the input.
fn message_usage(usage: &Usage, output: u32) -> Value {
    let cached = usage.cached_tokens().unwrap_or(0);
    json!({
        "input_tokens": usage.prompt_tokens - cached, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached, "output_tokens": output,
    })
}

fn message_events(facts: &Facts) -> Pieces {
    let whole = message(facts, &json!([]), true);
    let opening = [
        named(&json!({"type": "message_start", "message": message(facts, &json!([]), false)})),
        named(
            &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
        named(&json!({"type": "ping"})),
    ];
    let delta =
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}});
    let (before, after) = split(&named(&delta));
    let ended = json!({"stop_reason": whole["stop_reason"], "stop_sequence": null});
    let closing = [
        named(&json!({"type": "content_block_stop", "index": 0})),
        named(&json!({"type": "message_delta", "delta": ended, "usage": whole["usage"]})),
        named(&json!({"type": "message_stop"})),
    ];
    let closing = Closing { before: closing.concat(), again: Vec::new() };
    Pieces { opening: opening.concat(), before, after, closing }
}
