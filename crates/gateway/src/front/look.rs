//! What the router needs to know of a body: found by looking, hashed in place, nothing rebuilt.
//!
//! Text mode: the raw bytes of the prompt region are hashed in fixed chunks, so no tokenizer is needed and two bodies that differ only in
//! escaping merely miss each other's cache. Model, salt and tools go into the root of the chain, so that namespaces never meet.
//!
//! Token mode: blocks are named as engines' KV events name them, by tokens after a root of model and salt; tools are tokens by then.

use std::borrow::Cow;

use http::HeaderMap;
use warmroute_kv::{BlockHash, BlockLength, Tokens, text_chain, token_chain};
use warmroute_openai::{ApiError, PromptKeys, RequestView, Splice, model_of, model_of_form};
use warmroute_routing::{Request, Text, Unit, WorkerId};

use super::meant::Meant;
use super::session;
use super::surfaces::Route;
use super::tokens::{Count, Counted};
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
    /// In what length and blocks are told.
    unit: Unit,
    length: usize,
    block: BlockLength,
    text_block: BlockLength,
    output: Tokens,
    session: Option<u64>,
    model: Meant<'a>,
    view: Option<RequestView<'a>>,
}

/// In what prompts are measured.
#[derive(Debug)]
pub(super) struct Measure {
    /// Bytes of text that make a block.
    pub text_block: BlockLength,
    /// What a request is taken to cost that goes by load.
    pub load_bytes: usize,
    /// The prompt's tokens, in token mode.
    pub counted: Option<Counted>,
}

/// Looks at a request for `model`.
pub(super) fn look<'a>(
    asked: Asked<'a>,
    model: Meant<'a>,
    headers: &HeaderMap,
    measure: Measure,
) -> Look<'a> {
    let Measure { text_block, load_bytes, counted } = measure;
    let Asked::Prompt(view) = asked else {
        return Look {
            root: model.text_root(None),
            blocks: Vec::new(),
            unit: Unit::Bytes,
            length: load_bytes,
            block: text_block,
            text_block,
            output: Tokens::ZERO,
            session: None,
            model,
            view: None,
        };
    };
    let output = Tokens(view.max_tokens.unwrap_or(0));
    let session = session::key(headers, &view);
    let (root, blocks, unit, length, block) = match counted {
        None => {
            let (root, prompt) = (model.text_root(Some(&view)), text_of(&view));
            let blocks = text_chain(root, &prompt, text_block).collect();
            (root, blocks, Unit::Bytes, prompt.len(), text_block)
        }
        Some(Counted { tokens, block }) => {
            let root = model.namespace(view.cache_salt.as_deref()).root();
            let blocks = token_chain(root, &tokens, block.get()).collect();
            (root, blocks, Unit::Tokens, tokens.len(), block.get().into())
        }
    };
    let view = Some(view);
    Look { root, blocks, unit, length, block, text_block, output, session, model, view }
}

/// The prompt's text as it stands in the body.
fn text_of<'a>(view: &RequestView<'a>) -> Cow<'a, [u8]> {
    match view.lead {
        None => Cow::Borrowed(view.prompt),
        // As engines put them, whatever their order in the body.
        Some(lead) => Cow::Owned([lead, view.prompt].concat()),
    }
}

impl<'a> Look<'a> {
    /// The model that workers are asked for; empty if none is known.
    pub(super) fn model(&self) -> &str {
        &self.model.name
    }

    /// The prompt as it may be written down: always in blocks of text, all of one length, so that all rows of a log are of one measure.
    pub(super) fn prompt(&self) -> Prompt {
        let Some(view) = &self.view else {
            return Prompt { root: self.root, blocks: Vec::new(), bytes: self.length };
        };
        let (root, text) = (self.model.text_root(Some(view)), text_of(view));
        let blocks = text_chain(root, &text, self.text_block.first()).collect();
        Prompt { root, blocks, bytes: text.len() }
    }

    /// How long the prompt is by our count, in token mode.
    pub(super) fn count(&self) -> Option<Count> {
        (self.unit == Unit::Tokens).then(|| Count::of(&self.model.name, self.length))
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
            unit: self.unit,
            prompt: self.length,
            block: self.block,
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
    use warmroute_kv::Namespace;

    use super::*;

    fn chat(model: &str, salt: &str, system: &str, question: &str) -> String {
        let messages =
            serde_json::json!([{"role": "system", "content": system}, {"role": "user", "content": question}]);
        serde_json::json!({"model": model, "cache_salt": salt, "messages": messages}).to_string()
    }

    fn look_at(keys: PromptKeys, body: &str, chunk_bytes: usize) -> Result<Look<'_>, ApiError> {
        let asked = Asked::read(Route::Prompt(keys), body.as_bytes())?;
        let model = asked.model().unwrap_or_default().to_owned();
        Ok(look(
            asked,
            Cow::<str>::Owned(model).into(),
            &HeaderMap::new(),
            Measure { text_block: chunk_bytes.into(), load_bytes: 0, counted: None },
        ))
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
    fn tokens_are_named_as_kv_events_name_them_and_written_down_as_text() {
        let body =
            chat("m", "s", "You are", "What is a derailleur?").replace("{\"model", "{\"tools\":[],\"model");
        let in_text = look_at(PromptKeys::CHAT, &body, 64).unwrap();
        let asked = Asked::read(Route::Prompt(PromptKeys::CHAT), body.as_bytes()).unwrap();
        let counted = Counted { tokens: (0..37).collect(), block: Tokens(16) };
        let measure = Measure { text_block: 64.into(), load_bytes: 0, counted: Some(counted) };
        let look = look(asked, Cow::Borrowed("m").into(), &HeaderMap::new(), measure);
        let root = Namespace { model: "m", salt: Some("s"), ..Namespace::default() }.root();
        let tokens: Vec<_> = (0..37).collect();
        let names: Vec<_> = token_chain(root, &tokens, 16).collect();
        let text = || look.text();
        let request = look.request(None, &text);
        assert_eq!(
            (request.root, request.blocks, request.prompt, request.block),
            (root, &names[..], 37, 16.into())
        );
        assert_eq!(request.unit, Unit::Tokens);
        assert_eq!(look.prompt(), in_text.prompt());
        assert!(look.count().is_some() && in_text.count().is_none());
    }

    #[test]
    fn the_length_and_first_text_of_a_prompt_are_seen() {
        let body = r#"{"prompt": "Once upon a time", "max_tokens": 7}"#;
        let look = look_at(PromptKeys::COMPLETION, body, 8).unwrap();
        let text = || look.text();
        let request = look.request(None, &text);
        assert_eq!((request.prompt, request.block, request.blocks.len()), (18, 8.into(), 2));
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
        let look = look(
            asked,
            Cow::Borrowed("f").into(),
            &HeaderMap::new(),
            Measure { text_block: 64.into(), load_bytes: body.len(), counted: None },
        );
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
