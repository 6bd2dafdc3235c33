//! Which headers pass the gateway, and which it adds.
//!
//! Everything end-to-end passes unchanged, `authorization` among it, and `traceparent` where nothing is traced. What describes one connection (RFC 9110 §7.6.1)
//! stays on that connection.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The request's name in both directions; OpenAI's SDKs show it as `_request_id`.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The worker that answered.
pub(super) const WORKER: HeaderName = HeaderName::from_static("x-warmroute-worker");
/// The policy that chose it.
pub(super) const POLICY: HeaderName = HeaderName::from_static("x-warmroute-policy");
/// Prompt tokens it was believed to have cached; missing where nobody looked, as on a fallback.
pub(super) const OVERLAP_TOKENS: HeaderName = HeaderName::from_static("x-warmroute-overlap-tokens");
/// The router's estimate of the prompt's tokens.
pub(super) const PROMPT_TOKENS: HeaderName = HeaderName::from_static("x-warmroute-prompt-tokens");
/// What decided.
pub(super) const REASON: HeaderName = HeaderName::from_static("x-warmroute-reason");
/// Workers tried, the one that answered included.
pub(super) const ATTEMPTS: HeaderName = HeaderName::from_static("x-warmroute-attempts");
/// The `code` of an error that the gateway itself made; worker's errors have none.
pub(super) const ERROR_CODE: HeaderName = HeaderName::from_static("x-warmroute-error-code");
/// Tells OpenAI's SDKs not to retry what the gateway has retried already.
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Tells nginx in front of us not to collect a stream before it passes it on.
pub(super) const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A longer id would bloat every log line that carries it.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// The client's id for the request if it gave a sane one, else a new one that sorts by time.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |id: &&HeaderValue| {
        !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let id = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(id).expect("a UUID is visible ASCII")
    })
}

/// Makes a client's headers fit for the worker's connection; `host` is the worker's, and the body has been waited for already.
/// The length is written anew from the body, which may have come without one.
pub(super) fn prepare_request(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    for name in [HOST, EXPECT, CONTENT_LENGTH] {
        headers.remove(name);
    }
}

/// Removes what concerns one connection only: the standard names and those that `connection` lists.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Mostly there is none, and one look at every name costs less than looking for each of the nine.
    let mut found: Vec<HeaderName> =
        headers.keys().filter(|name| HOP_BY_HOP.contains(name)).cloned().collect();
    if found.contains(&CONNECTION) {
        let lists = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        found.extend(lists.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok()));
    }
    for name in found {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_concerns_one_connection_stays_on_it_and_the_rest_passes() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Secret"),
            ("x-secret", "1"),
            ("transfer-encoding", "chunked"),
            ("host", "gateway"),
            ("content-length", "7"),
            ("expect", "100-continue"),
            ("authorization", "Bearer x"),
            ("traceparent", "00-1-2-01"),
        ]);
        prepare_request(&mut headers);
        assert_eq!(headers, map(&[("authorization", "Bearer x"), ("traceparent", "00-1-2-01")]));
    }

    #[test]
    fn a_clients_request_id_is_kept_if_it_is_sane() {
        assert_eq!(request_id(&map(&[("x-request-id", "abc-1")])), "abc-1");
        for odd in ["", "a b", "é"] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(odd.as_bytes()).unwrap());
            assert_eq!(request_id(&headers).len(), 36, "{odd:?} is replaced by a UUID");
        }
    }
}
