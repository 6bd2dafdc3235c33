//! Lets requests in that show a key, within its limits; a reload changes the keys while requests are under way.
//!
//! Reading takes no lock but that of the key's own allowances, and those are held for arithmetic only.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use tokio::time::Instant;
use warmroute_openai::ApiError;

use super::allowance::Allowance;
use super::{Key, KeyHash, Keys, hash};

/// Why a request is not let in.
#[derive(Debug)]
pub(crate) struct Limited {
    pub error: ApiError,
    /// When it is worth asking again, if ever.
    pub retry_after: Option<Duration>,
}

/// All keys in force.
pub(crate) struct Gate(ArcSwap<Ring>);

/// Accounts by the beginning of their key's hash. An attacker who learns from timing where hashes begin has learned nothing of a key.
#[derive(Default)]
struct Ring(HashMap<[u8; 8], Vec<Arc<Account>>>);

/// A key and what has been used of it.
struct Account {
    key: Key,
    name: Arc<str>,
    used: Arc<Used>,
}

/// What has been used of a key. It outlives a change of the key, as long as the name stays.
#[derive(Default)]
struct Used {
    requests: Mutex<Option<Allowance>>,
    tokens: Mutex<Option<Allowance>>,
    in_flight: AtomicU32,
}

impl Gate {
    /// Lets in by these keys.
    pub(crate) fn new(keys: &Keys) -> Self {
        let gate = Self(ArcSwap::default());
        gate.replace(keys);
        gate
    }

    /// Lets in by these keys from now on. What was used stays used where the name stays.
    pub(crate) fn replace(&self, keys: &Keys) {
        let before = self.0.load();
        let known: HashMap<&str, &Arc<Used>> =
            before.0.values().flatten().map(|account| (&*account.name, &account.used)).collect();
        let mut ring = Ring::default();
        for key in &keys.0 {
            let used = known.get(key.name.as_str()).map_or_else(Arc::default, |used| Arc::clone(used));
            used.limit(key);
            let account = Account { key: key.clone(), name: key.name.as_str().into(), used };
            ring.0.entry(beginning(&key.hash)).or_default().push(Arc::new(account));
        }
        self.0.store(Arc::new(ring));
    }

    /// Lets a request in, or says why not; `None` where nobody need show a key. The pass must be kept until the request has ended.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Option<Pass>, Limited> {
        let ring = self.0.load();
        if ring.0.is_empty() {
            return Ok(None);
        }
        let account = ring.find(headers)?;
        account.enter(Instant::now()).map(Some)
    }

    /// Lets in whoever shows an admin's key; everybody, if no key is one.
    pub(crate) fn admit_admin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let ring = self.0.load();
        if !ring.0.values().flatten().any(|account| account.key.admin) {
            return Ok(());
        }
        let account = ring.find(headers).map_err(|limited| limited.error)?;
        if account.key.admin { Ok(()) } else { Err(not_admin(&account.name)) }
    }
}

fn beginning(hash: &KeyHash) -> [u8; 8] {
    let (beginning, _) = hash.split_first_chunk().expect("a hash is longer than its beginning");
    *beginning
}

/// The key that a request shows.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked("bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get("x-api-key").map(|value| value.as_bytes()))
}

impl Ring {
    fn find(&self, headers: &HeaderMap) -> Result<&Arc<Account>, Limited> {
        let key = shown(headers).ok_or_else(no_key)?;
        let hash = hash(key);
        let alike = self.0.get(&beginning(&hash)).map_or(&[][..], Vec::as_slice);
        alike.iter().find(|account| account.key.hash.ct_eq(&hash).into()).ok_or_else(wrong_key)
    }
}

impl Used {
    fn limit(&self, key: &Key) {
        let now = Instant::now();
        let limits =
            [(&self.requests, key.limits.requests_per_minute), (&self.tokens, key.limits.tokens_per_minute)];
        for (allowance, limit) in limits {
            let mut allowance = allowance.lock();
            match (&mut *allowance, limit) {
                (Some(allowance), Some(limit)) => allowance.resize(limit, now),
                (allowance, limit) => *allowance = limit.map(|limit| Allowance::new(limit, now)),
            }
        }
    }
}

impl Account {
    fn enter(self: &Arc<Self>, now: Instant) -> Result<Pass, Limited> {
        let over = |what: &'static str, wait| too_much(&self.name, what, wait);
        if let Some(tokens) = &mut *self.used.tokens.lock() {
            tokens.has(1.0, now).map_err(|wait| over("tokens_per_minute", wait))?;
        }
        // Counted first and taken back if it was too much: two requests at once cannot both be the last.
        let before = self.used.in_flight.fetch_add(1, Ordering::AcqRel);
        let pass = Pass { account: Arc::clone(self) };
        if self.key.limits.concurrent.is_some_and(|most| before >= most) {
            return Err(over("concurrent", Duration::from_secs(1)));
        }
        if let Some(requests) = &mut *self.used.requests.lock() {
            requests.has(1.0, now).map_err(|wait| over("requests_per_minute", wait))?;
            requests.take(1.0, now);
        }
        Ok(pass)
    }
}

/// A request that was let in; dropping it makes room for another of the same key.
pub(crate) struct Pass {
    account: Arc<Account>,
}

impl Pass {
    /// The key's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.account.name
    }

    /// The request is over, and was so many tokens.
    pub(crate) fn charge(&self, tokens: u32) {
        if let Some(allowance) = &mut *self.account.used.tokens.lock() {
            allowance.take(tokens.into(), Instant::now());
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.account.used.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

fn refused(message: &str) -> ApiError {
    ApiError::new(401, "invalid_request_error", message).with_code("invalid_api_key")
}

fn no_key() -> Limited {
    let error =
        refused("no API key was sent; hint: send it as `authorization: Bearer KEY` or `x-api-key: KEY`");
    Limited { error, retry_after: None }
}

fn wrong_key() -> Limited {
    let error =
        refused("the API key is not known here; hint: check it, or ask this server's operator for one");
    Limited { error, retry_after: None }
}

fn not_admin(name: &str) -> ApiError {
    let message =
        format!("the key `{name}` does not open the admin API; hint: add `admin` to its line in keys_file");
    ApiError::new(403, "invalid_request_error", message).with_code("not_admin")
}

fn too_much(name: &str, limit: &str, wait: Duration) -> Limited {
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    let message = format!(
        "the key `{name}` has used up its {limit}; hint: try again in {seconds} s, or ask this server's operator for more"
    );
    let error = ApiError::new(429, "rate_limit_error", message).with_code("rate_limit_exceeded");
    Limited { error, retry_after: Some(wait) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::keys::Limits;

    fn key(name: &str, secret: &str, limits: Limits) -> Key {
        Key { name: name.into(), hash: hash(secret.as_bytes()), limits, admin: false }
    }

    fn showing(header: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
    }

    fn bearer(secret: &str) -> HeaderMap {
        showing("authorization", &format!("Bearer {secret}"))
    }

    fn status(gate: &Gate, headers: &HeaderMap) -> u16 {
        gate.admit(headers).map_or_else(|limited| limited.error.status, |_| 200)
    }

    #[test]
    fn a_key_opens_in_either_header_and_nothing_else_does() {
        let gate =
            Gate::new(&Keys(vec![key("a", "abc", Limits::default()), key("b", "xyz", Limits::default())]));
        for (headers, expected) in [
            (bearer("abc"), 200),
            (showing("authorization", "bEARER  xyz"), 200),
            (showing("x-api-key", "xyz"), 200),
            (showing("authorization", "Basic abc"), 401),
            (bearer("ab"), 401),
            (bearer(""), 401),
            (HeaderMap::new(), 401),
        ] {
            assert_eq!(status(&gate, &headers), expected, "{headers:?}");
        }
        assert_eq!(status(&Gate::new(&Keys::default()), &HeaderMap::new()), 200, "no keys, no gate");
    }

    #[test]
    fn only_so_many_requests_run_at_once() {
        let limits = Limits { concurrent: Some(1), ..Limits::default() };
        let gate = Gate::new(&Keys(vec![key("a", "abc", limits)]));
        let pass = gate.admit(&bearer("abc")).ok().unwrap();
        assert_eq!(status(&gate, &bearer("abc")), 429);
        drop(pass);
        assert_eq!(status(&gate, &bearer("abc")), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_by_the_minute_say_when_to_come_back() {
        let limits = Limits { requests_per_minute: Some(2), tokens_per_minute: Some(600), concurrent: None };
        let gate = Gate::new(&Keys(vec![key("a", "abc", limits)]));
        gate.admit(&bearer("abc")).ok().unwrap().unwrap().charge(609);
        let limited = gate.admit(&bearer("abc")).err().unwrap();
        assert!(limited.error.message.contains("tokens_per_minute"), "{}", limited.error);
        assert_eq!(limited.retry_after.unwrap().as_secs_f64().round(), 1.0);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(status(&gate, &bearer("abc")), 200);
        let limited = gate.admit(&bearer("abc")).err().unwrap();
        assert!(limited.error.message.contains("requests_per_minute"), "{}", limited.error);
    }

    #[test]
    fn a_rotated_key_opens_at_once_and_keeps_what_its_name_has_used() {
        let limits = Limits { requests_per_minute: Some(2), ..Limits::default() };
        let gate = Gate::new(&Keys(vec![key("a", "old", limits)]));
        assert_eq!(status(&gate, &bearer("old")), 200);
        gate.replace(&Keys(vec![key("a", "new", limits)]));
        assert_eq!(status(&gate, &bearer("old")), 401);
        assert_eq!(status(&gate, &bearer("new")), 200);
        assert_eq!(status(&gate, &bearer("new")), 429, "the third of two");
    }

    #[test]
    fn the_admin_api_opens_to_admins_once_there_is_one() {
        let plain = key("a", "abc", Limits::default());
        let gate = Gate::new(&Keys(vec![plain.clone()]));
        gate.admit_admin(&HeaderMap::new()).unwrap();
        gate.replace(&Keys(vec![plain, Key { admin: true, ..key("root", "xyz", Limits::default()) }]));
        assert_eq!(gate.admit_admin(&HeaderMap::new()).unwrap_err().status, 401);
        assert_eq!(gate.admit_admin(&bearer("abc")).unwrap_err().status, 403);
        gate.admit_admin(&bearer("xyz")).unwrap();
    }
}
