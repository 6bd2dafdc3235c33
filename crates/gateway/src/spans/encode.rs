//! Traces as OTLP spells them in JSON: ids in hexadecimal, times and whole numbers as strings.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::{Span, Told, Trace, Value};
use crate::front::surfaces::Surface;
use crate::journal::Entry;

/// Kinds of spans.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// The status of what failed.
const ERROR: u8 = 2;

/// What a collector is sent of these requests.
pub(super) fn encode(told: &[Told]) -> Vec<u8> {
    let spans: Vec<Json> = told.iter().flat_map(request).collect();
    let resource = attributes(&[
        ("service.name", Value::Text("warmroute".into())),
        ("service.version", Value::Text(env!("CARGO_PKG_VERSION").into())),
    ]);
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "warmroute"}, "spans": spans}],
    }]})
    .to_string()
    .into_bytes()
}

/// The span of a whole request, and those within it.
fn request(told: &Told) -> impl Iterator<Item = Json> + '_ {
    let Told { trace, entry } = told;
    let parts = trace.spans.iter().enumerate().map(|(index, span)| part(trace, entry, index, span));
    std::iter::once(whole(trace, entry)).chain(parts)
}

fn whole(trace: &Trace, entry: &Entry) -> Json {
    let mut span = json!({
        "traceId": format!("{:032x}", trace.context.trace),
        "spanId": format!("{:016x}", trace.root),
        "name": format!("{} {}", entry.method, Surface::at(&entry.path).path),
        "kind": SERVER,
        "startTimeUnixNano": nanoseconds(entry, entry.arrived),
        "endTimeUnixNano": nanoseconds(entry, entry.arrived + entry.took),
        "attributes": attributes(&described(entry)),
    });
    if let Some(parent) = trace.context.parent {
        span["parentSpanId"] = format!("{parent:016x}").into();
    }
    if entry.status >= 500 {
        span["status"] = json!({"code": ERROR});
    }
    span
}

fn described(entry: &Entry) -> Vec<(&'static str, Value)> {
    let text = |text: &str| Value::Text(text.to_owned().into());
    let mut all = vec![
        ("http.request.method", text(entry.method.as_str())),
        ("url.path", text(&entry.path)),
        ("http.response.status_code", Value::Number(entry.status.into())),
        ("gen_ai.request.model", text(&entry.model)),
        ("warmroute.request_id", text(entry.request_id.to_str().unwrap_or_default())),
        ("warmroute.attempts", Value::Number(entry.attempts as u64)),
    ];
    if let Some(worker) = &entry.worker {
        all.push(("warmroute.worker", text(worker)));
        all.push(("warmroute.policy", text(entry.policy)));
        all.push(("warmroute.reason", text(entry.reason)));
        all.push(("warmroute.prompt_tokens", Value::Number(entry.prompt.0.into())));
        all.push(("warmroute.overlap_tokens", Value::Number(entry.overlap.0.into())));
    }
    if let Some(usage) = &entry.usage {
        all.push(("gen_ai.usage.input_tokens", Value::Number(usage.prompt.0.into())));
        all.push(("gen_ai.usage.output_tokens", Value::Number(usage.output.0.into())));
        all.extend(usage.cached.map(|cached| ("warmroute.cached_tokens", Value::Number(cached.0.into()))));
    }
    all
}

fn part(trace: &Trace, entry: &Entry, index: usize, span: &Span) -> Json {
    let mut told = json!({
        "traceId": format!("{:032x}", trace.context.trace),
        "spanId": format!("{:016x}", trace.id(index)),
        "parentSpanId": format!("{:016x}", trace.root),
        "name": span.name,
        "kind": if span.outwards { CLIENT } else { INTERNAL },
        "startTimeUnixNano": nanoseconds(entry, span.began),
        "endTimeUnixNano": nanoseconds(entry, span.ended),
        "attributes": attributes(&span.attributes),
    });
    if let Some(why) = &span.failed {
        told["status"] = json!({"code": ERROR, "message": why});
    }
    told
}

fn attributes(all: &[(&'static str, Value)]) -> Json {
    let one = |(key, value): &(&'static str, Value)| match value {
        Value::Text(text) => json!({"key": key, "value": {"stringValue": text}}),
        Value::Number(number) => json!({"key": key, "value": {"intValue": number.to_string()}}),
    };
    all.iter().map(one).collect()
}

/// A moment by the clock on the wall, from that of the request's arrival.
fn nanoseconds(entry: &Entry, moment: Instant) -> String {
    let at: SystemTime = entry.at + moment.saturating_duration_since(entry.arrived);
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
