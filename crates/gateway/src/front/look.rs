//! What the router needs to know of a body: found by looking, hashed in place, nothing rebuilt.
//!
//! Text mode: the raw bytes of the prompt region are hashed in fixed chunks, so no tokenizer is needed and two bodies that differ only in
//! escaping merely miss each other's cache. Model, salt and tools go into the root of the chain, so that namespaces never meet.

use std::borrow::Cow;

use http::HeaderMap;
use warmroute_kv::{BlockHash, Namespace, Tokens, text_chain};
use warmroute_openai::{ApiError, RequestView};
use warmroute_routing::{Request, Text, Unit};

use super::session;
use crate::journal::Prompt;

/// Which of the two completion endpoints a request came to; they keep their prompt under different keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
}

impl Surface {
    /// Both of them.
    pub(super) const ALL: [Self; 2] = [Self::Chat, Self::Completion];

    /// Where it is.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completion => "/v1/completions",
        }
    }

    /// The one at this path.
    pub(super) fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|surface| surface.path() == path)
    }
}

/// A request seen through the router's eyes.
#[derive(Debug)]
pub(super) struct Look<'a> {
    root: BlockHash,
    blocks: Vec<BlockHash>,
    prompt_bytes: usize,
    block_bytes: usize,
    output: Tokens,
    session: Option<u64>,
    view: RequestView<'a>,
}

/// Looks at a request. `chunk_bytes` of prompt make one block.
pub(super) fn look<'a>(
    surface: Surface,
    headers: &HeaderMap,
    body: &'a [u8],
    chunk_bytes: usize,
) -> Result<Look<'a>, ApiError> {
    let view = match surface {
        Surface::Chat => RequestView::of_chat(body),
        Surface::Completion => RequestView::of_completion(body),
    }?;
    let namespace = Namespace {
        model: view.model.as_deref().unwrap_or_default(),
        lora: None, // vLLM serves an adapter under a model name of its own
        salt: view.cache_salt.as_deref(),
        tools: view.tools,
    };
    let root = namespace.root();
    Ok(Look {
        root,
        blocks: text_chain(root, view.prompt, chunk_bytes).collect(),
        prompt_bytes: view.prompt.len(),
        block_bytes: chunk_bytes,
        output: Tokens(view.max_tokens.unwrap_or(0)),
        session: session::key(headers, &view),
        view,
    })
}

impl<'a> Look<'a> {
    /// The model that is asked, as it is written; empty if none is named.
    pub(super) fn model(&self) -> &str {
        self.view.model.as_deref().unwrap_or_default()
    }

    /// The prompt as it may be written down.
    pub(super) fn prompt(&self) -> Prompt {
        Prompt { root: self.root, blocks: self.blocks.clone(), bytes: self.prompt_bytes }
    }

    /// The first characters of the prompt's text. Costs time in proportion to the first messages.
    pub(super) fn text(&self) -> Cow<'a, str> {
        self.view.text_start()
    }

    /// The router's question; `text` gives the text if a policy asks for it.
    pub(super) fn request<'r>(&'r self, text: &'r dyn Fn() -> Cow<'r, str>) -> Request<'r> {
        Request {
            root: self.root,
            blocks: &self.blocks,
            unit: Unit::Bytes,
            prompt: self.prompt_bytes,
            block: self.block_bytes,
            output: self.output,
            text: Text::Asked(text),
            session: self.session,
            // A whole answer comes with its last token; only a stream shows when its first one did.
            tells_first_token: self.view.stream,
            among: None,
            by_load: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(model: &str, salt: &str, system: &str, question: &str) -> String {
        let messages =
            serde_json::json!([{"role": "system", "content": system}, {"role": "user", "content": question}]);
        serde_json::json!({"model": model, "cache_salt": salt, "messages": messages}).to_string()
    }

    fn look_at(surface: Surface, body: &str, chunk_bytes: usize) -> Result<Look<'_>, ApiError> {
        look(surface, &HeaderMap::new(), body.as_bytes(), chunk_bytes)
    }

    fn shared(a: &str, b: &str) -> usize {
        let [a, b] = [a, b].map(|body| look_at(Surface::Chat, body, 64).unwrap().blocks);
        a.iter().zip(&b).take_while(|(a, b)| a == b).count()
    }

    #[test]
    fn equal_beginnings_share_blocks_and_namespaces_never_meet() {
        let system = "You are the help desk of a bicycle shop. ".repeat(16);
        let first = chat("m", "s", &system, "What is a derailleur?");
        assert!(shared(&first, &chat("m", "s", &system, "How much is a bell?")) >= 640 / 64);
        assert_eq!(shared(&first, &chat("other", "s", &system, "What is a derailleur?")), 0);
        assert_eq!(shared(&first, &chat("m", "other", &system, "What is a derailleur?")), 0);
    }

    #[test]
    fn the_length_and_first_text_of_a_prompt_are_seen() {
        let body = r#"{"prompt": "Once upon a time", "max_tokens": 7}"#;
        let look = look_at(Surface::Completion, body, 8).unwrap();
        let text = || look.text();
        let request = look.request(&text);
        assert_eq!((request.prompt, request.block, request.blocks.len()), (18, 8, 2));
        assert_eq!((request.output, &*request.text.start()), (Tokens(7), "Once upon a time"));
    }

    #[test]
    fn a_first_token_is_promised_only_where_the_answer_is_streamed() {
        for (stream, promised) in [("true", true), ("false", false), ("null", false), ("\"true\"", false)] {
            let body = format!("{{\"prompt\": \"x\", \"stream\": {stream}}}");
            let look = look_at(Surface::Completion, &body, 64).unwrap();
            assert_eq!(look.request(&|| look.text()).tells_first_token, promised, "{body}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_400() {
        for body in ["", "[1]", "{\"prompt\": ", "{\"model\": \"m\"}", "{\"model\": 3, \"prompt\": \"x\"}"] {
            assert_eq!(look_at(Surface::Completion, body, 64).unwrap_err().status, 400, "{body}");
        }
    }
}
