//! The view of a body says what a full parse says, for any order, spacing, spelling and nesting, and never panics.

use proptest::prelude::*;
use serde_json::Value;
use warmroute_openai::request::{ChatRequest, CompletionRequest, TokenizeRequest};
use warmroute_openai::{ApiError, RequestView, TEXT_START_CHARS};

const KNOWN_KEYS: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "cache_salt",
    "tools",
    "prompt",
    "messages",
    "session_id",
    "prompt_cache_key",
    "user",
];

/// Any JSON value, with the shapes that the view looks into made likely.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..5000_u32).prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let key = prop_oneof!["(role|content|text|type|include_usage)", "\\PC{0,6}", any_text()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), ".{0,12}", "[\\x00-\\x7f]{0,300}", "[a-z\\\\\"{}\\[\\],:/😀é\n]{0,400}"]
}

/// A value with each wanted type as likely as any other, so that the interesting cases come up.
fn any_member() -> impl Strategy<Value = (String, Value)> {
    let message = (any_text(), any_value()).prop_map(|(text, other)| {
        serde_json::json!([{"role": "system", "content": other}, {"role": "user", "content": [{"text": text}]}])
    });
    let usage = any::<bool>().prop_map(|asked| serde_json::json!({"include_usage": asked}));
    let value =
        prop_oneof![3 => any_value(), 1 => message, 1 => usage, 1 => any_text().prop_map(Value::from)];
    (prop_oneof![4 => prop::sample::select(KNOWN_KEYS).prop_map(str::to_owned), 1 => any_text()], value)
}

/// Writes JSON in any legal spelling, as `choices` (used round and round) say.
struct Speller<'a> {
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    text: String,
}

impl Speller<'_> {
    fn spell_body(members: &[(String, Value)], choices: &[u8]) -> String {
        let mut speller = Speller { choices: choices.iter().cycle(), text: String::new() };
        speller.list('{', '}', members, |speller, (key, value)| speller.member(key, value));
        speller.text
    }

    fn choice(&mut self) -> u8 {
        self.choices.next().copied().unwrap_or(0)
    }

    fn space(&mut self) {
        let space = ["", "", "", " ", "\n", "\t ", " \r\n "][usize::from(self.choice()) % 7];
        self.text.push_str(space);
    }

    fn list<T>(&mut self, open: char, close: char, items: &[T], item: impl Fn(&mut Self, &T)) {
        self.space();
        self.text.push(open);
        for (at, one) in items.iter().enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            self.space();
            item(self, one);
            self.space();
        }
        self.text.push(close);
        self.space();
    }

    fn member(&mut self, key: &str, value: &Value) {
        self.string(key);
        self.space();
        self.text.push(':');
        self.space();
        self.value(value);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.string(text),
            Value::Array(items) => self.list('[', ']', items, Self::value),
            Value::Object(members) => {
                let members: Vec<_> = members.iter().collect();
                self.list('{', '}', &members, |speller, (key, value)| speller.member(key, value));
            }
            scalar => self.text.push_str(&scalar.to_string()),
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        let escape_often = self.choice().is_multiple_of(3);
        for letter in text.chars() {
            if escape_often && self.choice().is_multiple_of(4) {
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    self.text.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                let quoted = Value::from(letter.to_string()).to_string();
                self.text.push_str(&quoted[1..quoted.len() - 1]);
            }
        }
        self.text.push('"');
    }
}

fn first_text(prompt: &Value) -> Option<&str> {
    let text = |value: &'_ Value| value.as_str().is_some_and(|text| !text.is_empty());
    if text(prompt) {
        return prompt.as_str();
    }
    let of_message =
        |message: &Value| text(message) || text(&message["content"]) || parts_text(message).is_some();
    let first = prompt.as_array()?.iter().find(|message| of_message(message))?;
    first.as_str().or(first["content"].as_str()).or_else(|| parts_text(first))
}

fn parts_text(message: &Value) -> Option<&str> {
    let texts = message["content"].as_array()?.iter().filter_map(|part| part["text"].as_str());
    texts.into_iter().find(|text| !text.is_empty())
}

/// What the view must say, from a full parse.
fn check(body: &str, view: Result<RequestView<'_>, ApiError>, prompt_key: &str) -> Result<(), TestCaseError> {
    let full: Value = serde_json::from_str(body).expect("the speller writes JSON");
    let is_text = |name: &str| full[name].is_null() || full[name].is_string();
    let whole = |name: &str| full[name].as_u64().and_then(|number| u32::try_from(number).ok());
    let Ok(view) = view else {
        prop_assert!(
            full[prompt_key].is_null() || !is_text("model") || !is_text("cache_salt"),
            "refused without need: {:?}",
            view
        );
        return Ok(());
    };
    prop_assert_eq!(view.model.as_deref(), full["model"].as_str());
    prop_assert_eq!(view.cache_salt.as_deref(), full["cache_salt"].as_str());
    prop_assert_eq!(view.session_id.as_deref(), full["session_id"].as_str());
    prop_assert_eq!(view.prompt_cache_key.as_deref(), full["prompt_cache_key"].as_str());
    prop_assert_eq!(view.user.as_deref(), full["user"].as_str());
    prop_assert_eq!(view.stream, full["stream"] == true);
    prop_assert_eq!(view.include_usage, full["stream_options"]["include_usage"] == true);
    prop_assert_eq!(view.max_tokens, whole("max_completion_tokens").or(whole("max_tokens")));
    let tools = view.tools.map(|raw| serde_json::from_slice::<Value>(raw).expect("a raw value is JSON"));
    prop_assert_eq!(tools.unwrap_or_default(), full["tools"].clone());
    let prompt: Value = serde_json::from_slice(view.prompt).expect("a raw value is JSON");
    prop_assert_eq!(&prompt, &full[prompt_key]);
    if let Some(text) = first_text(&full[prompt_key]) {
        let start: String = text.chars().take(TEXT_START_CHARS).collect();
        prop_assert_eq!(view.text_start(), start);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_view_says_what_a_full_parse_says(
        members in prop::collection::vec(any_member(), 0..12),
        choices in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let body = Speller::spell_body(&members, &choices);
        check(&body, RequestView::of_chat(body.as_bytes()), "messages")?;
        check(&body, RequestView::of_completion(body.as_bytes()), "prompt")?;
    }

    #[test]
    fn a_body_the_worker_reads_is_never_refused(
        members in prop::collection::vec(any_member(), 0..6),
        choices in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let body = Speller::spell_body(&members, &choices);
        if ChatRequest::parse(body.as_bytes()).is_ok() {
            prop_assert!(RequestView::of_chat(body.as_bytes()).is_ok());
        }
        if CompletionRequest::parse(body.as_bytes()).is_ok() {
            prop_assert!(RequestView::of_completion(body.as_bytes()).is_ok());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        exercise(&bytes);
    }

    #[test]
    fn a_body_damaged_anywhere_never_panics(
        members in prop::collection::vec(any_member(), 1..6),
        choices in prop::collection::vec(any::<u8>(), 1..40),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[],:u".as_slice())],
        cut in any::<bool>(),
    ) {
        let mut body = Speller::spell_body(&members, &choices).into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if cut {
            body.truncate(at + 1);
        }
        exercise(&body);
    }
}

fn exercise(body: &[u8]) {
    for view in [RequestView::of_chat(body), RequestView::of_completion(body)].into_iter().flatten() {
        assert!(view.text_start().chars().count() <= TEXT_START_CHARS);
    }
    // Whether they are read or refused is not the question here.
    let _ = (CompletionRequest::parse(body), ChatRequest::parse(body), TokenizeRequest::parse(body));
}

#[test]
fn a_session_name_that_is_no_string_is_missing_and_no_reason_to_refuse() {
    let body = br#"{"prompt": "x", "session_id": 7, "prompt_cache_key": ["a"], "user": "caf\u00e9"}"#;
    let view = RequestView::of_completion(body).unwrap();
    assert_eq!((view.session_id, view.prompt_cache_key, view.user.as_deref()), (None, None, Some("café")));
}

#[test]
fn a_broken_body_is_refused_with_line_column_and_hint() {
    let error = RequestView::of_chat(b"{\"model\": \"tiny\",\n \"messages\": [}").unwrap_err();
    assert_eq!((error.status, error.code.as_deref()), (400, Some("invalid_json")));
    assert!(error.message.contains("at line 2 column 15"), "{error}");
    let error = RequestView::of_completion(b"{\"messages\": []}").unwrap_err();
    assert_eq!(error.param.as_deref(), Some("prompt"));
}
