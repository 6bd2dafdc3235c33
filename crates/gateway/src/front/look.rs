//! What the router needs to know of a body: found by looking, hashed in place, nothing rebuilt.
//!
//! Text mode: the raw bytes of the prompt region are hashed in fixed chunks, so no tokenizer is needed and two bodies that differ only in
//! escaping merely miss each other's cache. Model, salt and tools go into the root of the chain, so that namespaces never meet.

use std::borrow::Cow;

use http::HeaderMap;
use warmroute_kv::{BlockHash, Namespace, Tokens, text_chain};
use warmroute_openai::{ApiError, PromptKeys, RequestView, Splice, model_of, model_of_form};
use warmroute_routing::{Request, Text, Unit, WorkerId};

use super::session;
use super::surfaces::Route;
use crate::journal::Prompt;

/// What a body says.
#[derive(Debug)]
pub(super) enum Asked<'a> {
    /// A body with a prompt.
    Prompt(RequestView<'a>),
    /// A body of which at most the model is of interest.
    Other(Option<Named<'a>>),
}

/// The model that is asked for.
#[derive(Debug)]
pub(super) struct Named<'a> {
    name: Cow<'a, str>,
    /// As it stands in the body.
    value: &'a [u8],
    /// The body is a form and no JSON.
    form: bool,
}

impl<'a> Asked<'a> {
    /// Looks at a body, or at as much of it as is there.
    pub(super) fn read(route: Route, body: &'a [u8]) -> Result<Self, ApiError> {
        if let Route::Prompt(keys) = route {
            return RequestView::of(body, keys).map(Self::Prompt);
        }
        let json = model_of(body).map(|(name, value)| Named { name, value, form: false });
        let form = || {
            let value = model_of_form(body).filter(|_| route == Route::Stream)?;
            Some(Named { name: String::from_utf8_lossy(value), value, form: true })
        };
        Ok(Self::Other(json.or_else(form)))
    }

    /// The model that is asked for.
    pub(super) fn model(&self) -> Option<&str> {
        match self {
            Self::Prompt(view) => view.model.as_deref(),
            Self::Other(named) => named.as_ref().map(|named| &*named.name),
        }
    }

    /// The response that this request goes on from.
    pub(super) fn previous_response(&self) -> Option<&str> {
        match self {
            Self::Prompt(view) => view.previous_response_id.as_deref(),
            Self::Other(_) => None,
        }
    }

    /// Makes `body` ask for this model.
    pub(super) fn rename(&self, body: &[u8], model: &str) -> Option<Splice> {
        match self {
            Self::Prompt(view) => view.rename(body, model),
            Self::Other(named) => named.as_ref().map(|named| {
                let quoted = || serde_json::Value::from(model).to_string();
                let value = if named.form { model.to_owned() } else { quoted() };
                Splice::replace(body, named.value, value.into_bytes())
            }),
        }
    }

    /// Makes `body` ask for usage, where the API knows of that and the client did not ask.
    pub(super) fn ask_for_usage(&self, route: Route, body: &[u8]) -> Option<Splice> {
        let has_option =
            [Route::Prompt(PromptKeys::CHAT), Route::Prompt(PromptKeys::COMPLETION)].contains(&route);
        match self {
            Self::Prompt(view) if has_option => view.ask_for_usage(body),
            _ => None,
        }
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
    model: Cow<'a, str>,
    view: Option<RequestView<'a>>,
}

/// Looks at a request for `model`. `chunk_bytes` of prompt make one block; `load_bytes` is what a request is taken to cost that goes by load.
pub(super) fn look<'a>(
    asked: Asked<'a>,
    model: Cow<'a, str>,
    headers: &HeaderMap,
    (chunk_bytes, load_bytes): (usize, usize),
) -> Look<'a> {
    let namespace = |view: Option<&RequestView<'a>>| {
        let salt = view.and_then(|view| view.cache_salt.as_deref());
        // vLLM serves an adapter under a model name of its own.
        Namespace { model: &model, lora: None, salt, tools: view.and_then(|view| view.tools) }.root()
    };
    let Asked::Prompt(view) = asked else {
        let root = namespace(None);
        return Look {
            root,
            blocks: Vec::new(),
            prompt_bytes: load_bytes,
            block_bytes: chunk_bytes,
            output: Tokens::ZERO,
            session: None,
            model,
            view: None,
        };
    };
    let root = namespace(Some(&view));
    let prompt = match view.lead {
        None => Cow::Borrowed(view.prompt),
        // As engines put them, whatever their order in the body.
        Some(lead) => Cow::Owned([lead, view.prompt].concat()),
    };
    Look {
        root,
        blocks: text_chain(root, &prompt, chunk_bytes).collect(),
        prompt_bytes: prompt.len(),
        block_bytes: chunk_bytes,
        output: Tokens(view.max_tokens.unwrap_or(0)),
        session: session::key(headers, &view),
        model,
        view: Some(view),
    }
}

impl<'a> Look<'a> {
    /// The model that workers are asked for; empty if none is known.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// The prompt as it may be written down.
    pub(super) fn prompt(&self) -> Prompt {
        Prompt { root: self.root, blocks: self.blocks.clone(), bytes: self.prompt_bytes }
    }

    /// The first characters of the prompt's text. Costs time in proportion to the first messages.
    pub(super) fn text(&self) -> Cow<'a, str> {
        self.view.as_ref().map(RequestView::text_start).unwrap_or_default()
    }

    /// The router's question; `text` gives the text if a policy asks for it, and `among` are the workers that may take the request.
    pub(super) fn request<'r>(
        &'r self,
        among: Option<&'r [WorkerId]>,
        text: &'r dyn Fn() -> Cow<'r, str>,
    ) -> Request<'r> {
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
            tells_first_token: self.view.as_ref().is_some_and(|view| view.stream),
            among,
            by_load: self.view.is_none(),
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

    fn look_at(keys: PromptKeys, body: &str, chunk_bytes: usize) -> Result<Look<'_>, ApiError> {
        let asked = Asked::read(Route::Prompt(keys), body.as_bytes())?;
        let model = asked.model().unwrap_or_default().to_owned();
        Ok(look(asked, Cow::Owned(model), &HeaderMap::new(), (chunk_bytes, 0)))
    }

    fn shared(a: &str, b: &str) -> usize {
        let [a, b] = [a, b].map(|body| look_at(PromptKeys::CHAT, body, 64).unwrap().blocks);
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
        let look = look_at(PromptKeys::COMPLETION, body, 8).unwrap();
        let text = || look.text();
        let request = look.request(None, &text);
        assert_eq!((request.prompt, request.block, request.blocks.len()), (18, 8, 2));
        assert_eq!((request.output, &*request.text.start()), (Tokens(7), "Once upon a time"));
    }

    #[test]
    fn a_first_token_is_promised_only_where_the_answer_is_streamed() {
        for (stream, promised) in [("true", true), ("false", false), ("null", false), ("\"true\"", false)] {
            let body = format!("{{\"prompt\": \"x\", \"stream\": {stream}}}");
            let look = look_at(PromptKeys::COMPLETION, &body, 64).unwrap();
            assert_eq!(look.request(None, &|| look.text()).tells_first_token, promised, "{body}");
        }
    }

    #[test]
    fn a_system_prompt_comes_before_the_messages_wherever_it_stands() {
        let body = |first: &str, second: &str| format!(r#"{{"model":"m",{first},{second},"stream":true}}"#);
        let system = format!(r#""system":"{}""#, "You are. ".repeat(20));
        let messages = r#""messages":[{"role":"user","content":"Hello"}]"#;
        let look = |body: &str| look_at(PromptKeys::MESSAGES, body, 32).unwrap().blocks;
        let there = look(&body(&system, messages));
        assert_eq!(there, look(&body(messages, &system)));
        assert_eq!(there.len(), (182 + messages.len() - 11) / 32);
    }

    #[test]
    fn of_what_goes_by_load_only_the_model_is_seen() {
        let body = br#"{"input":["a","b"],"model":"e"}"#;
        let asked = Asked::read(Route::Load, body).unwrap();
        assert_eq!(asked.model(), Some("e"));
        let renamed = Splice::apply(asked.rename(body, "f").into_iter().collect(), body);
        assert_eq!(renamed, br#"{"input":["a","b"],"model":"f"}"#);
        let look = look(asked, "f".into(), &HeaderMap::new(), (64, body.len()));
        let text = || look.text();
        let request = look.request(None, &text);
        assert!(request.by_load && request.blocks.is_empty() && request.prompt == body.len());
    }

    #[test]
    fn what_is_no_request_is_refused_with_400() {
        for body in ["", "[1]", "{\"prompt\": ", "{\"model\": \"m\"}", "{\"model\": 3, \"prompt\": \"x\"}"] {
            assert_eq!(look_at(PromptKeys::COMPLETION, body, 64).unwrap_err().status, 400, "{body}");
        }
    }
}
