//! The top-level fields of a request body, each read on its own so that a wrong type names the field at fault.
//!
//! A plain serde struct would report "invalid type: string, expected f32 at line 1 column 80", which no user can act on.
//! Unknown fields are ignored, as every OpenAI-compatible server does; of a repeated field the last one counts, as in
//! `serde_json::Value` and Python.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ApiError;

/// How much of a wrong value an error message repeats, in characters.
const SHOWN_CHARS: usize = 40;

/// A parsed body: names and the raw JSON of their values.
pub(crate) struct Fields<'a> {
    by_name: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Checks the syntax of the whole body and that it is an object.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(body).map(|by_name| Self { by_name }).map_err(ApiError::invalid_json)
    }

    /// The value of `name`, `None` if it is missing or null. `expected` completes "'name' must be ...".
    pub(crate) fn get<T: Deserialize<'a>>(&self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        let Some(raw) = self.by_name.get(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|_| {
            let shown: String = raw.get().chars().take(SHOWN_CHARS).collect();
            let more = if raw.get().len() > shown.len() { "..." } else { "" };
            let cause = format!("must be {expected}, not {shown}{more}");
            ApiError::invalid_param(name, cause, "correct the field or leave it out for its default")
        })
    }

    /// The value of `name`, which must be there and not null.
    pub(crate) fn require<T: Deserialize<'a>>(&self, name: &str, expected: &str) -> Result<T, ApiError> {
        self.get(name, expected)?.ok_or_else(|| {
            ApiError::invalid_param(name, "is missing", format_args!("send {expected} as '{name}'"))
        })
    }

    /// Refuses the request if `name` is there with a value that `harmless` does not accept.
    pub(crate) fn refuse_unless(
        &self,
        name: &str,
        harmless: fn(&serde_json::Value) -> bool,
        hint: &str,
    ) -> Result<(), ApiError> {
        match self.get::<serde_json::Value>(name, "JSON")? {
            Some(value) if !harmless(&value) => {
                Err(ApiError::unsupported(name, "asks for something this server does not do", hint))
            }
            _ => Ok(()),
        }
    }
}
