//! The settings file: TOML, where a mistake is refused with its line, the reason and the nearest name that would have been right.

use toml::de::Error;
use warmroute_routing::policy::nearest;

use super::alias::ALIAS_KEYS;
use super::error::BadFile;
use super::model::MODEL_KEYS;
use super::worker::WORKER_KEYS;
use super::{GatewayConfig, SETTINGS};

/// Reads a file's text.
pub(super) fn read(text: &str) -> Result<GatewayConfig, BadFile> {
    toml::from_str(text).map_err(|error| explain(text, &error))
}

/// Where to look if nothing nearer is known.
pub(super) const ALL_SETTINGS: &str =
    "docs/settings.md and `warmroute gateway --help-all` list every setting";

fn explain(text: &str, error: &Error) -> BadFile {
    let at = error.span().map(|span| span.start.min(text.len()));
    let line = at.map(|at| text[..at].matches('\n').count());
    let content = line.and_then(|line| text.lines().nth(line)).unwrap_or_default().trim();
    let bad = |why: String, hint| BadFile {
        path: None,
        line: line.map(|line| line + 1),
        text: content.to_owned(),
        why,
        hint,
    };
    let message = error.message().lines().next().unwrap_or_default();
    // serde says this of a key, and lists everything that it could be; the list has a page of its own.
    if let Some(unknown) = quoted(message, "unknown field `") {
        let in_table = [&WORKER_KEYS[..], &ALIAS_KEYS[..], &MODEL_KEYS[..]]
            .into_iter()
            .find(|keys| keys.iter().all(|key| message.contains(&format!("`{key}`"))));
        return bad(format!("there is no setting `{unknown}`"), hint(unknown, in_table));
    }
    if let Some(missing) = quoted(message, "missing field `") {
        let example = match missing {
            "url" => "http://127.0.0.1:8001",
            "tokenizer" => "hub:Qwen/Qwen3-8B",
            _ => "...",
        };
        return bad(format!("`{missing}` is missing"), format!("add {missing} = \"{example}\""));
    }
    let key = content.split(['=', ' ']).next().unwrap_or_default();
    let about = SETTINGS.iter().find(|setting| setting.name == key).map(|setting| setting.about.trim());
    bad(message.to_owned(), about.unwrap_or(ALL_SETTINGS).to_owned())
}

fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    message.strip_prefix(before)?.split('`').next()
}

/// `in_table` are the keys of the table it stands in, if it is in one.
fn hint(unknown: &str, in_table: Option<&[&'static str]>) -> String {
    let settings = SETTINGS.iter().map(|setting| setting.name).chain(["workers", "aliases", "models"]);
    let found = match in_table {
        Some(keys) => nearest(unknown, keys.iter().copied()),
        None => nearest(unknown, settings),
    };
    found.map_or_else(|| ALL_SETTINGS.to_owned(), |name| format!("did you mean `{name}`?"))
}

/// The same for a name from elsewhere.
pub(super) fn hint_for(unknown: &str) -> String {
    hint(unknown, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn a_mistake_is_refused_with_its_line_the_reason_and_the_nearest_name() {
        for (file, line, expected) in [
            (
                "seed = 1\nlistne = \"0.0.0.0:1\"",
                2,
                "there is no setting `listne`; hint: did you mean `listen`?",
            ),
            ("max_atempts = 2", 1, "did you mean `max_attempts`?"),
            ("worker = 3", 1, "did you mean `workers`?"),
            (
                "# all\n\n[[workers]]\nulr = \"http://a:1\"",
                4,
                "there is no setting `ulr`; hint: did you mean `url`?",
            ),
            ("[[workers]]\napi_key = \"k\"", 1, "`url` is missing; hint: add url = \"http://"),
            ("[[aliases]]\nnane = \"x\"", 2, "there is no setting `nane`; hint: did you mean `name`?"),
            ("[[aliases]]\nname = \"x\"", 1, "`model` is missing; hint: add model = "),
            ("[[models]]\nblock_token = 1", 2, "`block_token`; hint: did you mean `block_tokens`?"),
            ("[[models]]\nname = \"x\"", 1, "`tokenizer` is missing; hint: add tokenizer = \"hub:"),
            ("[[models]]\nname = \"x\"\ntokenizer = \"hub:\"", 3, "`hub:` names no tokenizer; hint: write"),
            ("[[models]]\nname = \"x\"\ntokenizer = \"w\"\nblock_tokens = 0", 4, "a nonzero u32"),
            ("modles = 3", 1, "did you mean `models`?"),
            ("zebra = 1", 1, "hint: docs/settings.md and"),
            ("policy = \"cache_awre\"", 1, "there is no policy 'cache_awre'"),
            ("policy = \"cache_awre\"", 1, "did you mean cache_aware?"),
            ("max_attempts = \"three\"", 1, "expected usize; hint: Most workers tried"),
            ("max_attempts = -1", 1, "hint: Most workers tried"),
            ("listen = \"here\"", 1, "invalid socket address"),
            ("seed = 1\nseed = 2", 2, "duplicate key"),
            ("seed 1", 1, "expected `=`; hint: Seed of"),
            (
                "[[workers]]\nurl = \"ftp://a:1\"",
                2,
                "does not start with http://, https:// or h2c://; hint: write it like",
            ),
            ("discover = \"consul://x\"", 1, "is no source of workers"),
            ("peers = \"gateway-1\"", 1, "`gateway-1` is no gateway: write its admin API's address as"),
            ("peesr = \"off\"", 1, "did you mean `peers`?"),
            ("peers_key = \"sk-1\"", 1, "write it as env:NAME"),
            (
                "[[workers]]\nurl = \"http://a:1\"\napi_key = \"env:WARMROUTE_NO_SUCH\"",
                3,
                "WARMROUTE_NO_SUCH is not set",
            ),
        ] {
            let said = told(file);
            assert!(said.starts_with(&format!("line {line}: `")), "{file}\n{said}");
            assert!(said.contains(expected) && said.contains("hint: "), "{file}\n{said}");
        }
    }
}
