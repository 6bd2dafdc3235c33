//! How a chat becomes a prompt: the model's own Jinja template, or plain lines where it has none.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};

/// One message of a chat.
#[derive(Clone, Copy, Debug)]
pub struct ChatTurn<'a> {
    /// `system`, `user` or `assistant`.
    pub role: &'a str,
    /// What was said.
    pub content: &'a str,
}

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    /// Holds one template, [`NAME`].
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
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

impl ChatTemplate {
    /// The template of a model that ships none: `role: content` lines and a closing `assistant:`.
    pub fn plain() -> Self {
        Self::new(PLAIN.to_owned(), String::new(), String::new())
            .expect("the plain template parses: a test renders it")
    }

    /// A template in the dialect of Hugging Face's `apply_chat_template`.
    pub(super) fn new(source: String, bos_token: String, eos_token: String) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // As transformers sets up its Jinja; without them a template written on several lines would print its
        // line ends.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: &str| strftime(format, now_seconds()));
        environment.add_template_owned(NAME, source)?;
        Ok(Self { environment, bos_token, eos_token })
    }

    /// The prompt for these turns, ending where the assistant is to speak.
    pub fn render(&self, turns: &[ChatTurn<'_>]) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME)?;
        let messages: Vec<Value> =
            turns.iter().map(|turn| context! { role => turn.role, content => turn.content }).collect();
        Ok(template.render(context! {
            messages,
            add_generation_prompt => true,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            tools => (),
        })?)
    }
}

fn now_seconds() -> u64 {
    // A clock before 1970 is wrong anyway; templates only want a date to show.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The few directives that chat templates use, in UTC; others are left as they are.
fn strftime(format: &str, seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (year, month, day) = civil_date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let name = MONTHS[month - 1];
    [
        ("%Y", year.to_string()),
        ("%m", format!("{month:02}")),
        ("%d", format!("{day:02}")),
        ("%B", name.to_owned()),
        ("%b", name[..3].to_owned()),
        ("%H", format!("{:02}", of_day / 3_600)),
        ("%M", format!("{:02}", of_day / 60 % 60)),
        ("%S", format!("{:02}", of_day % 60)),
    ]
    .iter()
    .fold(format.to_owned(), |text, (directive, value)| text.replace(directive, value))
}

/// Year, month and day of a day counted from 1970 (Howard Hinnant's `civil_from_days`, years from March).
fn civil_date(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: [ChatTurn<'static>; 2] = [
        ChatTurn { role: "system", content: "Be <brief> & kind." },
        ChatTurn { role: "user", content: "Hi" },
    ];

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new(source.to_owned(), "<s>".to_owned(), "</s>".to_owned()).expect("parses")
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
    fn the_date_is_written_as_strftime_does() {
        assert_eq!(strftime("%d %b %Y", 1_709_164_800), "29 Feb 2024");
        assert_eq!(strftime("%Y-%m-%d %H:%M:%S, %B", 951_868_799), "2000-02-29 23:59:59, February");
        assert_eq!(strftime("%d %b %Y", 0), "01 Jan 1970");
    }
}
