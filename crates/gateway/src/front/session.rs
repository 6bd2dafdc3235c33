//! Which conversation or user a request belongs to, as far as its client says.
//!
//! Clients and gateways have many names for it; [`SIGNALS`] lists those that are understood, and the first that says something
//! counts. What it says is hashed without its place, so that a conversation stays one when its client moves the name from a header
//! into the body. It is a hint: only the policy `session` looks at it, and what cannot be read is passed over, never refused.

use http::{HeaderMap, HeaderName, HeaderValue};
use warmroute_kv::BlockHash;
use warmroute_openai::RequestView;

/// A place in a request that may name its session.
#[derive(Debug)]
enum Signal {
    Header(HeaderName),
    /// A top-level string of the body: its key, and where the view has it.
    Field(&'static str, for<'v> fn(&'v RequestView<'_>) -> Option<&'v str>),
}

/// Every place, in order of precedence: what names one conversation comes before what may name all of a user's.
static SIGNALS: [Signal; 9] = [
    Signal::Header(HeaderName::from_static("x-session-id")),
    Signal::Field("session_id", |view| view.session_id.as_deref()),
    Signal::Field("prompt_cache_key", |view| view.prompt_cache_key.as_deref()),
    Signal::Header(HeaderName::from_static("x-session-affinity")),
    Signal::Header(HeaderName::from_static("x-claude-code-session-id")),
    Signal::Header(HeaderName::from_static("session_id")),
    Signal::Header(HeaderName::from_static("x-dynamo-session-id")),
    Signal::Header(HeaderName::from_static("x-smg-routing-key")),
    Signal::Field("user", |view| view.user.as_deref()),
];

/// How the names of such headers begin: a letter each.
const HEADERS_BEGIN: [char; 2] = ['x', 's'];

/// A header that may be such a signal.
type Named<'a> = (&'a HeaderName, &'a HeaderValue);

/// A hash of whatever names the request's session, if anything does.
pub(super) fn key(headers: &HeaderMap, view: &RequestView<'_>) -> Option<u64> {
    // Nearly all headers are of other kinds, and are looked at once and not once for each signal.
    let may_name = |name: &HeaderName| name.as_str().starts_with(HEADERS_BEGIN);
    let named: Vec<_> = headers.iter().filter(|(name, _)| may_name(name)).collect();
    let says = |signal: &'static Signal| Some((signal, signal.value(&named, view)?));
    let (signal, session) = SIGNALS.iter().find_map(says)?;
    tracing::trace!(signal = signal.name(), "a request names its session");
    Some(BlockHash(0).next_text(session).0)
}

impl Signal {
    /// The header or key.
    fn name(&self) -> &str {
        match self {
            Self::Header(name) => name.as_str(),
            Self::Field(name, _) => name,
        }
    }

    /// What it says in this request; an empty value says nothing.
    fn value<'a>(&self, headers: &[Named<'a>], view: &'a RequestView<'_>) -> Option<&'a [u8]> {
        let says_something = |value: &&[u8]| !value.is_empty();
        match self {
            Self::Header(name) => {
                let named = headers.iter().filter(|(given, _)| *given == name);
                named.map(|(_, value)| value.as_bytes()).find(says_something)
            }
            Self::Field(_, of) => of(view).map(str::as_bytes).filter(says_something),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of a request in which this signal says `its_value`, and every later one says "another".
    fn key_with(first: usize, its_value: &'static str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        let mut body = serde_json::json!({"prompt": "x"});
        for (place, signal) in SIGNALS.iter().enumerate().skip(first) {
            let value = if place == first { its_value } else { "another" };
            match signal {
                Signal::Header(name) => _ = headers.append(name, HeaderValue::from_static(value)),
                Signal::Field(name, _) => body[*name] = value.into(),
            }
        }
        let body = body.to_string();
        key(&headers, &RequestView::of_completion(body.as_bytes()).unwrap())
    }

    fn key_of(body: &str, headers: &HeaderMap) -> Option<u64> {
        key(headers, &RequestView::of_completion(body.as_bytes()).unwrap())
    }

    #[test]
    fn every_signal_is_understood_before_all_that_come_after_it_unless_it_is_empty() {
        let (mine, another) = (key_with(8, "mine"), key_with(8, "another"));
        assert!(mine.is_some() && another.is_some() && mine != another);
        for (place, signal) in SIGNALS.iter().enumerate() {
            assert_eq!(key_with(place, "mine"), mine, "{signal:?}");
            let after = if place + 1 < SIGNALS.len() { another } else { None };
            assert_eq!(key_with(place, ""), after, "{signal:?} is empty");
        }
    }

    #[test]
    fn a_request_that_names_no_session_has_no_key() {
        assert_eq!(key_of(r#"{"prompt": "x", "user": null, "session_id": 7}"#, &HeaderMap::new()), None);
    }

    #[test]
    fn a_header_that_comes_twice_counts_where_it_first_says_something_whatever_its_bytes() {
        let mut headers = HeaderMap::new();
        headers.append("x-session-id", HeaderValue::from_static(""));
        headers.append("x-session-id", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        assert_eq!(key_of(r#"{"prompt": "x"}"#, &headers), Some(BlockHash(0).next_text(b"caf\xe9").0));
    }

    #[test]
    fn the_readme_names_every_signal_in_order() {
        let readme = include_str!("../../../../README.md");
        let mut rest = readme.split_once("### Sessions").expect("there is a section on sessions").1;
        for signal in &SIGNALS {
            let name = signal.name();
            rest = rest.split_once(&format!("`{name}`")).unwrap_or_else(|| panic!("{name} is next")).1;
        }
    }
}
