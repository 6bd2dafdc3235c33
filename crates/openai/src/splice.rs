//! Changes of a body that are wanted, made by splicing: every byte beside them stays what and where it was.

use std::ops::Range;

use crate::RequestView;
use crate::scan;
use crate::view::{text, unescape_key};

/// One change: these bytes of the body become others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// Which bytes of the body; an empty range inserts.
    pub at: Range<usize>,
    /// What stands there instead.
    pub with: Vec<u8>,
}

impl Splice {
    /// Gives a value of `body`, which must be a part of it, another one.
    pub fn replace(body: &[u8], value: &[u8], with: Vec<u8>) -> Self {
        let start = value.as_ptr().addr() - body.as_ptr().addr();
        debug_assert!(start + value.len() <= body.len(), "the value is no part of the body");
        Self { at: start..start + value.len(), with }
    }

    /// What `body` is after all these changes, which must not overlap.
    ///
    /// ```
    /// use warmroute_openai::Splice;
    /// let body = br#"{"a": 1,  "b":2}"#;
    /// let change = Splice::replace(body, &body[6..7], b"17".to_vec());
    /// assert_eq!(Splice::apply(vec![change], body), br#"{"a": 17,  "b":2}"#);
    /// ```
    pub fn apply(mut changes: Vec<Self>, body: &[u8]) -> Vec<u8> {
        changes.sort_by_key(|change| change.at.start);
        let added: usize = changes.iter().map(|change| change.with.len()).sum();
        let mut spliced = Vec::with_capacity(body.len() + added);
        let mut from = 0;
        for Self { at, with } in changes {
            spliced.extend_from_slice(&body[from..at.start]);
            spliced.extend_from_slice(&with);
            from = at.end;
        }
        spliced.extend_from_slice(&body[from..]);
        spliced
    }
}

impl RequestView<'_> {
    /// Makes `body`, of which this is the view, ask for another model. Nothing if it names none.
    pub fn rename(&self, body: &[u8], model: &str) -> Option<Splice> {
        let value = self.model_value?;
        Some(Splice::replace(body, value, crate::to_json(&model)))
    }

    /// Makes `body`, of which this is the view, ask for usage at the end of its stream. Nothing if it does, or if there is no stream.
    pub fn ask_for_usage(&self, body: &[u8]) -> Option<Splice> {
        if !self.stream || self.include_usage {
            return None;
        }
        let Some(options) = self.stream_options else {
            // The body has other members, so there is something for the comma to part from.
            let start = body.iter().position(|byte| *byte == b'{')? + 1;
            return Some(Splice {
                at: start..start,
                with: b"\"stream_options\":{\"include_usage\":true},".to_vec(),
            });
        };
        if options == b"null" {
            return Some(Splice::replace(body, options, b"{\"include_usage\":true}".to_vec()));
        }
        let members: Vec<_> = scan::members(options).collect::<Result<_, _>>().ok()?;
        let said = members.iter().rfind(|(key, _)| *unescape_key(key) == *b"include_usage");
        if let Some((_, value)) = said {
            return Some(Splice::replace(body, value, b"true".to_vec()));
        }
        let comma = if members.is_empty() { "" } else { "," };
        let with = format!("\"include_usage\":true{comma}").into_bytes();
        let inside = Splice::replace(body, &options[1..1], with);
        Some(inside)
    }
}

/// The model that a body of any JSON API asks for, and its value as it stands there: the last of that name, as far as the body can be read.
pub fn model_of(body: &[u8]) -> Option<(std::borrow::Cow<'_, str>, &[u8])> {
    let members = scan::members(body).map_while(Result::ok);
    let named = members.filter(|(key, _)| *unescape_key(key) == *b"model").last();
    let (_, value) = named?;
    Some((text(value)?, value))
}

/// The model that a form (`multipart/form-data`) asks for, as it stands there.
pub fn model_of_form(body: &[u8]) -> Option<&[u8]> {
    let field = memchr::memmem::find(body, b"name=\"model\"")?;
    let start = field + memchr::memmem::find(&body[field..], b"\r\n\r\n")? + 4;
    let length = memchr::memmem::find(&body[start..], b"\r\n")?;
    Some(&body[start..start + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(body: &str) -> String {
        let view = RequestView::of_completion(body.as_bytes()).unwrap();
        let changes = view.ask_for_usage(body.as_bytes()).into_iter().collect();
        String::from_utf8(Splice::apply(changes, body.as_bytes())).unwrap()
    }

    #[test]
    fn usage_is_asked_for_wherever_the_body_says_otherwise_and_nothing_else_moves() {
        let asked = "\"include_usage\":true";
        for (before, after) in [
            ("", format!("\"stream_options\":{{{asked}}},")),
            (r#""stream_options" : null,"#, format!("\"stream_options\" : {{{asked}}},")),
            (r#""stream_options":{},"#, format!("\"stream_options\":{{{asked}}},")),
            (r#""stream_options":{ "x":1.0},"#, format!("\"stream_options\":{{{asked}, \"x\":1.0}},")),
            (
                r#""stream_options":{"include_usage": false},"#,
                "\"stream_options\":{\"include_usage\": true},".to_owned(),
            ),
        ] {
            let body = |options: &str| format!(" {{{options}\"prompt\" : \"x\", \"stream\":true,\"n\":1e0}}");
            assert_eq!(asking(&body(before)), body(&after));
        }
    }

    #[test]
    fn a_body_that_asks_or_does_not_stream_or_makes_no_sense_is_left_alone() {
        for body in [
            r#"{"prompt":"x","stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"prompt":"x","stream":false}"#,
            r#"{"prompt":"x"}"#,
            r#"{"prompt":"x","stream":true,"stream_options":[7]}"#,
        ] {
            assert_eq!(asking(body), body);
        }
    }

    #[test]
    fn the_last_model_is_renamed_since_it_is_the_one_that_counts() {
        let body = br#"{"model":"a", "prompt": "x","model" :"\u0062" ,"seed":18446744073709551616}"#;
        let view = RequestView::of_completion(body).unwrap();
        assert_eq!(view.model.as_deref(), Some("b"));
        let changes = view.rename(body, "q\"1").into_iter().collect();
        let expected = br#"{"model":"a", "prompt": "x","model" :"q\"1" ,"seed":18446744073709551616}"#;
        assert_eq!(Splice::apply(changes, body), expected);
    }

    #[test]
    fn the_model_of_any_json_and_of_a_form_is_found_as_far_as_it_is_there() {
        assert_eq!(
            model_of(br#"{"input":["a"],"model":"m"}"#).map(|(name, _)| name.into_owned()).as_deref(),
            Some("m")
        );
        assert_eq!(
            model_of(br#"{"model":"m","input":["half"#).map(|(name, _)| name.into_owned()).as_deref(),
            Some("m")
        );
        for body in [&b"{\"model\":7}"[..], b"", b"\xff\x00", b"[\"model\"]"] {
            assert_eq!(model_of(body), None);
        }
        let form = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--b\r\n\xff";
        assert_eq!(model_of_form(form), Some(&b"whisper"[..]));
        assert_eq!(model_of_form(&form[..60]), None);
    }
}
