//! What Jinja templates expect of Python: `json.dumps` for `tojson`, and how values look when they are printed.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value};
use serde_json::Value as Json;

/// `tojson` as transformers defines it: Python's `json.dumps`, without escapes for HTML.
pub(super) fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let json = serde_json::to_value(value).map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, "it cannot be written as JSON").with_source(error)
    })?;
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        _ if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        _ => (", ".to_owned(), ": ".to_owned()),
    };
    let dump = Dump {
        indent,
        item,
        key,
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    let mut text = String::new();
    dump.value(&mut text, &json, 0);
    Ok(Value::from_safe_string(text))
}

/// The options of `json.dumps`.
struct Dump {
    indent: Option<usize>,
    item: String,
    key: String,
    ascii: bool,
    sorted: bool,
}

impl Dump {
    fn value(&self, text: &mut String, json: &Json, depth: usize) {
        match json {
            Json::Null => text.push_str("null"),
            Json::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
            Json::Number(number) => text.push_str(&number_as_python(number)),
            Json::String(string) => self.string(text, string),
            Json::Array(values) => {
                self.several(text, depth, ('[', ']'), values, |text, value| {
                    self.value(text, value, depth + 1)
                });
            }
            Json::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                if self.sorted {
                    members.sort_by_key(|(key, _)| *key);
                }
                self.several(text, depth, ('{', '}'), &members, |text, (key, value)| {
                    self.string(text, key);
                    text.push_str(&self.key);
                    self.value(text, value, depth + 1);
                });
            }
        }
    }

    fn several<T>(
        &self,
        text: &mut String,
        depth: usize,
        (open, close): (char, char),
        values: &[T],
        one: impl Fn(&mut String, &T),
    ) {
        text.push(open);
        for (place, value) in values.iter().enumerate() {
            if place > 0 {
                text.push_str(&self.item);
            }
            self.line(text, depth + 1);
            one(text, value);
        }
        if !values.is_empty() {
            self.line(text, depth);
        }
        text.push(close);
    }

    /// A new line, where there are any.
    fn line(&self, text: &mut String, depth: usize) {
        if let Some(indent) = self.indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&self, text: &mut String, string: &str) {
        text.push('"');
        for letter in string.chars() {
            match letter {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                control if control < ' ' => escape(text, control),
                other if self.ascii && !other.is_ascii() => escape(text, other),
                other => text.push(other),
            }
        }
        text.push('"');
    }
}

fn escape(text: &mut String, letter: char) {
    for unit in letter.encode_utf16(&mut [0; 2]) {
        let _ = write!(text, "\\u{unit:04x}");
    }
}

fn number_as_python(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => float_as_python(float),
        _ => number.to_string(),
    }
}

/// `repr` of a float: both languages write the fewest digits that read back, but change to powers of ten elsewhere.
fn float_as_python(float: f64) -> String {
    let scientific = format!("{float:e}");
    let Some((digits, power)) = scientific.split_once('e') else { return scientific.to_lowercase() };
    let power: i32 = power.parse().unwrap_or(0);
    if (-4..16).contains(&power) {
        return format!("{float:?}");
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.unsigned_abs())
}

/// Prints a value as Python's `str` would.
pub(super) fn print(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let written = match value.kind() {
        ValueKind::Undefined => Ok(()),
        ValueKind::String => out.write_str(value.as_str().unwrap_or_default()),
        ValueKind::None | ValueKind::Bool | ValueKind::Number | ValueKind::Seq | ValueKind::Map => {
            let json = serde_json::to_value(value).unwrap_or_default();
            let mut text = String::new();
            repr(&mut text, &json);
            out.write_str(&text)
        }
        _ => write!(out, "{value}"),
    };
    written.map_err(|_| Error::new(ErrorKind::WriteFailure, "the prompt cannot be written"))
}

fn repr(text: &mut String, json: &Json) {
    match json {
        Json::Null => text.push_str("None"),
        Json::Bool(truth) => text.push_str(if *truth { "True" } else { "False" }),
        Json::Number(number) => text.push_str(&number_as_python(number)),
        Json::String(string) => repr_string(text, string),
        Json::Array(values) => {
            text.push('[');
            for (place, value) in values.iter().enumerate() {
                text.push_str(if place > 0 { ", " } else { "" });
                repr(text, value);
            }
            text.push(']');
        }
        Json::Object(members) => {
            text.push('{');
            for (place, (key, value)) in members.iter().enumerate() {
                text.push_str(if place > 0 { ", " } else { "" });
                repr_string(text, key);
                text.push_str(": ");
                repr(text, value);
            }
            text.push('}');
        }
    }
}

fn repr_string(text: &mut String, string: &str) {
    let quote = if string.contains('\'') && !string.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for letter in string.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            same if same == quote => text.extend(['\\', quote]),
            control if control.is_ascii_control() => {
                let _ = write!(text, "\\x{:02x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_does() {
        let written = [1.0, 0.1, 1e15, 1e16, 1.5e22, 0.0001, 0.00001, 1.25e-7, -2.5].map(float_as_python);
        let expected =
            ["1.0", "0.1", "1000000000000000.0", "1e+16", "1.5e+22", "0.0001", "1e-05", "1.25e-07", "-2.5"];
        assert_eq!(written, expected);
    }

    #[test]
    fn strings_are_quoted_as_python_does() {
        let quoted = |string: &str| {
            let mut text = String::new();
            repr_string(&mut text, string);
            text
        };
        assert_eq!(quoted("a\nb"), r"'a\nb'");
        assert_eq!(quoted("it's"), "\"it's\"");
        assert_eq!(quoted("it's \"so\""), r#"'it\'s "so"'"#);
    }
}
