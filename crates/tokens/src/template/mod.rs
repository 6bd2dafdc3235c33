//! How a chat becomes a prompt: the model's own Jinja template, or plain lines where it has none.
//!
//! Templates are written for Python. They are rendered as `transformers` renders them, which vLLM and SGLang use: the same functions,
//! filters and methods, `tojson` as Python's `json.dumps`, and values printed as Python prints them.

mod date;
mod python;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};
use serde_json::{Map, Value as Json};

/// One message of a chat, of nothing but text.
#[derive(Clone, Copy, Debug)]
pub struct ChatTurn<'a> {
    /// `system`, `user` or `assistant`.
    pub role: &'a str,
    /// What was said.
    pub content: &'a str,
}

/// All that a template may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// The messages, each an object.
    pub messages: Vec<Json>,
    /// Tools that the model may call.
    pub tools: Option<Json>,
    /// Documents that it may quote.
    pub documents: Option<Json>,
    /// Whether the prompt ends where the assistant is to speak.
    pub add_generation_prompt: bool,
    /// Whether it ends within the last message, which the assistant is to go on with.
    pub continue_final_message: bool,
    /// Whatever else the template is to see, by name.
    pub others: Map<String, Json>,
}

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    /// Holds one template, [`NAME`].
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
    takes_parts: bool,
}

/// A chat the template refuses, or a template that does not work, in the template engine's own words.
#[derive(Debug, thiserror::Error)]
#[error(
    "the model's chat template failed: {reason}; hint: check the order and the roles of the messages, or use \
     /v1/completions"
)]
pub struct TemplateError {
    reason: String,
}

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> Self {
        // A template's own `raise_exception` speaks in the detail; the kind before it would only add noise.
        Self { reason: error.detail().map_or_else(|| error.to_string(), str::to_owned) }
    }
}

const NAME: &str = "chat";

/// A line per turn, as base models have seen dialogue written.
const PLAIN: &str = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}\
                     {% if add_generation_prompt %}assistant:{% endif %}";

/// Written behind the last message to find where it ends in the prompt; as in transformers, with a space that shows whether the
/// template keeps white space there.
const END_TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

impl ChatTemplate {
    /// The template of a model that ships none: `role: content` lines and a closing `assistant:`.
    pub fn plain() -> Self {
        Self::new(PLAIN.to_owned(), String::new(), String::new())
            .expect("the plain template parses: a test renders it")
    }

    /// A template in the dialect of Hugging Face's `apply_chat_template`.
    pub fn new(source: String, bos_token: String, eos_token: String) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // As transformers sets up its Jinja; without them a template written on several lines would print its
        // line ends.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(python::print);
        environment.add_filter("tojson", python::tojson);
        environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", date::strftime_now);
        let takes_parts = takes_parts(&source);
        environment.add_template_owned(NAME, without_generation(source))?;
        Ok(Self { environment, bos_token, eos_token, takes_parts })
    }

    /// Another template with the same special tokens.
    pub(crate) fn with_source(&self, source: &str) -> Result<Self, TemplateError> {
        Self::new(source.to_owned(), self.bos_token.clone(), self.eos_token.clone())
    }

    /// Whether it wants the content of messages as a list of parts and not as one text.
    pub fn takes_parts(&self) -> bool {
        self.takes_parts
    }

    /// Whether it takes system prompts elsewhere than at the beginning.
    pub fn takes_system_within(&self) -> bool {
        let turn = |role| ChatTurn { role, content: "x" };
        self.render(&["system", "user", "system", "user"].map(turn)).is_ok()
    }

    /// The prompt for these turns, ending where the assistant is to speak.
    pub fn render(&self, turns: &[ChatTurn<'_>]) -> Result<String, TemplateError> {
        let messages: Vec<Value> =
            turns.iter().map(|turn| context! { role => turn.role, content => turn.content }).collect();
        self.fill(context! { messages, add_generation_prompt => true, tools => () })
    }

    /// The prompt for a conversation.
    ///
    /// # Errors
    /// If the template refuses it, or the end of a message that is to be gone on with cannot be found.
    pub fn render_conversation(&self, conversation: &Conversation) -> Result<String, TemplateError> {
        let Conversation { messages, tools, documents, add_generation_prompt, others, .. } = conversation;
        let tagged = conversation.continue_final_message.then(|| tagged(messages)).transpose()?;
        let basic = context! {
            messages => Value::from(Serde(tagged.as_ref().unwrap_or(messages))),
            tools => Value::from(Serde(tools)),
            documents => Value::from(Serde(documents)),
            add_generation_prompt,
        };
        let rendered = self.fill(context! { ..Value::from(Serde(others)), ..basic })?;
        if tagged.is_some() { until_tag(&rendered) } else { Ok(rendered) }
    }

    fn fill(&self, context: Value) -> Result<String, TemplateError> {
        let special = context! { bos_token => self.bos_token.as_str(), eos_token => self.eos_token.as_str() };
        let template = self.environment.get_template(NAME)?;
        Ok(template.render(context! { ..context, ..special })?)
    }
}

/// The messages with [`END_TAG`] behind the last text of the last one.
fn tagged(messages: &[Json]) -> Result<Vec<Json>, TemplateError> {
    let nothing = || TemplateError { reason: "the last message has no text to go on with".to_owned() };
    let mut messages = messages.to_vec();
    let content = messages.last_mut().and_then(|last| last.get_mut("content")).ok_or_else(nothing)?;
    let text = match content {
        Json::Array(parts) => parts.iter_mut().rev().find_map(|part| part.get_mut("text")),
        text => Some(text),
    };
    match text {
        Some(Json::String(text)) => text.push_str(END_TAG),
        _ => return Err(nothing()),
    }
    Ok(messages)
}

/// What comes before the tag, without white space where the template has trimmed the message.
fn until_tag(rendered: &str) -> Result<String, TemplateError> {
    let at = rendered.rfind(END_TAG.trim_end()).ok_or_else(|| TemplateError {
        reason: "the last message is not in the prompt, so it cannot be gone on with".to_owned(),
    })?;
    let before = &rendered[..at];
    let kept = rendered[at..].starts_with(END_TAG);
    Ok(if kept { before } else { before.trim_end() }.to_owned())
}

/// `{% generation %}` only marks the assistant's words for training: a condition that is always true stands in.
fn without_generation(source: String) -> String {
    if !source.contains("generation") {
        return source;
    }
    let mut rest = &*source;
    let mut rewritten = String::with_capacity(source.len());
    while let Some(at) = rest.find("{%") {
        let Some(length) = rest[at..].find("%}") else { break };
        let statement = &rest[at + 2..at + length];
        rewritten.push_str(&rest[..at + 2]);
        let word = statement.trim_matches(['-', '+']).trim();
        rewritten.push_str(&match word {
            "generation" => statement.replace(word, "if true"),
            "endgeneration" => statement.replace(word, "endif"),
            _ => statement.to_owned(),
        });
        rest = &rest[at + length..];
    }
    rewritten + rest
}

/// Whether a template goes through the parts of a message's content: some loop is over `content`.
fn takes_parts(source: &str) -> bool {
    let statements = source.split("{%").skip(1).filter_map(|after| after.split("%}").next());
    let mut loops =
        statements.map(|statement| statement.trim_matches(['-', '+']).trim()).filter_map(|statement| {
            statement.strip_prefix("for ")?.split_once(" in ").map(|(_, over)| over.trim())
        });
    loops.any(|over| {
        over == "content"
            || [".content", "['content']", "[\"content\"]"].iter().any(|end| over.ends_with(end))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TURNS: [ChatTurn<'static>; 2] = [
        ChatTurn { role: "system", content: "Be <brief> & kind." },
        ChatTurn { role: "user", content: "Hi" },
    ];

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new(source.to_owned(), "<s>".to_owned(), "</s>".to_owned()).expect("parses")
    }

    fn said(content: &str) -> Conversation {
        Conversation {
            messages: vec![json!({"role": "user", "content": content})],
            tools: None,
            documents: None,
            add_generation_prompt: true,
            continue_final_message: false,
            others: Map::new(),
        }
    }

    #[test]
    fn a_model_without_a_template_gets_lines() {
        let prompt = ChatTemplate::plain().render(&TURNS).expect("renders");
        assert_eq!(prompt, "system: Be <brief> & kind.\nuser: Hi\nassistant:");
    }

    #[test]
    fn special_tokens_python_methods_and_undefined_names_work_as_in_transformers() {
        let source = "{{ bos_token }}{%- for m in messages %}\n\
                      {% if not loop.first and m['content'].startswith('H') %}\n\
                      [{{ m.content.strip()|trim }}]{% endif %}\n{% endfor %}\
                      {% if tools is none and not missing %}{{ eos_token }}{% endif %}";
        assert_eq!(template(source).render(&TURNS).expect("renders"), "<s>[Hi]</s>");
    }

    #[test]
    fn a_template_refuses_in_its_own_words() {
        let error =
            template("{{ raise_exception('roles must alternate') }}").render(&TURNS).expect_err("it raises");
        assert!(error.to_string().contains("failed: roles must alternate; hint:"), "{error}");
    }

    #[test]
    fn values_are_printed_and_dumped_as_python_does() {
        let source = "{{ x }} {{ x|tojson }} {{ y }} {{ x|tojson(indent=2) }} {{ t }}{{ n }} {{ f }}";
        let mut conversation = said("");
        let x = json!({"b": [1, "é<", null], "a": {}, "c": 1e20});
        conversation.others =
            [("x", x), ("y", json!("<é>")), ("t", json!(true)), ("n", json!(null)), ("f", json!(2.0))]
                .map(|(key, value)| (key.to_owned(), value))
                .into_iter()
                .collect();
        let expected = "{'b': [1, 'é<', None], 'a': {}, 'c': 1e+20} {\"b\": [1, \"é<\", null], \"a\": {}, \"c\": 1e+20} <é> \
                        {\n  \"b\": [\n    1,\n    \"é<\",\n    null\n  ],\n  \"a\": {},\n  \"c\": 1e+20\n} TrueNone 2.0";
        assert_eq!(template(source).render_conversation(&conversation).expect("renders"), expected);
    }

    #[test]
    fn a_message_is_gone_on_with_where_it_ends() {
        let continued = |source: &str, content: &str| {
            let conversation = Conversation { continue_final_message: true, ..said(content) };
            template(source).render_conversation(&conversation).map_err(|error| error.to_string())
        };
        assert_eq!(continued("[{{ messages[0].content }}]", "Well, ").as_deref(), Ok("[Well, "));
        assert_eq!(continued("[{{ messages[0].content|trim }}]", "Well, ").as_deref(), Ok("[Well,"));
        assert!(continued("nothing", "Well").unwrap_err().contains("not in the prompt"));
    }

    #[test]
    fn marks_for_training_say_nothing() {
        let source = "a{%- generation -%} b {% endgeneration %}\nc{% if add_generation_prompt %}d{% endif %}";
        assert_eq!(template(source).render_conversation(&said("")).expect("renders"), "ab cd");
    }

    #[test]
    fn a_loop_over_content_wants_parts() {
        for (source, parts) in [
            ("{% for message in messages %}{{ message.content }}{% endfor %}", false),
            ("{%- for part in message['content'] -%}{% endfor %}", true),
            ("{% for item in message.content %}{% endfor %}", true),
            ("{% set content = m.content %}{% for c in content %}{% endfor %}", true),
        ] {
            assert_eq!(super::takes_parts(source), parts, "{source}");
        }
    }
}
