//! A request as a line of JSON: in the access log, and among the admin API's recent decisions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use warmroute_routing::Fate;

use super::Entry;

/// The fields in the order in which they are written; what is not known is `null`.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    /// Milliseconds since 1970 at the request's arrival.
    time_ms: u64,
    request_id: &'a str,
    key: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    model: &'a str,
    status: u16,
    worker: Option<&'a str>,
    policy: &'static str,
    reason: &'static str,
    attempts: usize,
    /// As the worker reported, else as the router estimated.
    prompt_tokens: u32,
    overlap_tokens: u32,
    cached_tokens: Option<u32>,
    output_tokens: Option<u32>,
    ttft_ms: Option<f64>,
    duration_ms: f64,
    body_bytes: u64,
    answer_bytes: u64,
    fate: Tokens,
}

/// What the decision made of the prompt's tokens.
#[derive(Debug, Serialize)]
struct Tokens {
    hit: u32,
    lost_to_load: u32,
    lost_to_eviction: u32,
    unseen: u32,
}

impl<'a> From<&'a Entry> for Line<'a> {
    fn from(entry: &'a Entry) -> Self {
        let Fate { hit, lost_to_load, lost_to_eviction, unseen } = entry.fate;
        Self {
            time_ms: since_1970_ms(entry.at),
            request_id: entry.id(),
            key: entry.key.as_deref(),
            method: entry.method.as_str(),
            path: &entry.path,
            model: &entry.model,
            status: entry.status,
            worker: entry.worker.as_deref(),
            policy: entry.policy,
            reason: entry.reason,
            attempts: entry.attempts,
            prompt_tokens: entry.usage.map_or(entry.prompt, |usage| usage.prompt).0,
            overlap_tokens: entry.overlap.0,
            cached_tokens: entry.usage.and_then(|usage| usage.cached).map(|tokens| tokens.0),
            output_tokens: entry.usage.map(|usage| usage.output.0),
            ttft_ms: entry.first_token.map(milliseconds),
            duration_ms: milliseconds(entry.took),
            body_bytes: entry.body_bytes,
            answer_bytes: entry.answer_bytes,
            fate: Tokens {
                hit: hit.0,
                lost_to_load: lost_to_load.0,
                lost_to_eviction: lost_to_eviction.0,
                unseen: unseen.0,
            },
        }
    }
}

pub(super) fn since_1970_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// To the microsecond: more digits would be noise.
fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;

    #[test]
    fn a_line_has_every_field_and_says_null_of_what_nobody_knows() {
        let mut entry = Entry::new(HeaderValue::from_static("r-1"), Method::POST, "/v1/completions");
        entry.at = UNIX_EPOCH + Duration::from_millis(1_234);
        entry.took = Duration::from_nanos(1_234_567);
        entry.status = 401;
        let line = serde_json::to_string(&Line::from(&entry)).unwrap();
        let wanted = concat!(
            r#"{"time_ms":1234,"request_id":"r-1","key":null,"method":"POST","path":"/v1/completions","model":"","#,
            r#""status":401,"worker":null,"policy":"none","reason":"none","attempts":0,"prompt_tokens":0,"overlap_tokens":0,"#,
            r#""cached_tokens":null,"output_tokens":null,"ttft_ms":null,"duration_ms":1.235,"body_bytes":0,"answer_bytes":0,"#,
            r#""fate":{"hit":0,"lost_to_load":0,"lost_to_eviction":0,"unseen":0}}"#,
        );
        assert_eq!(line, wanted);
    }
}
