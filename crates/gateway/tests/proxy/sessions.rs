//! Which of a request's names for its session counts, and that the policy `session` follows it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use http::HeaderValue;
use serde_json::json;

use crate::client::{request, send};
use crate::fleet::gateway_with;
use crate::worker::{Act, Worker};

/// Where a request may name its session, the place that counts most first.
const PLACES: [Place; 9] = [
    Place::Header("x-session-id"),
    Place::Field("session_id"),
    Place::Field("prompt_cache_key"),
    Place::Header("x-session-affinity"),
    Place::Header("x-claude-code-session-id"),
    Place::Header("session_id"),
    Place::Header("x-dynamo-session-id"),
    Place::Header("x-smg-routing-key"),
    Place::Field("user"),
];

#[derive(Clone, Copy, Debug)]
enum Place {
    Header(&'static str),
    Field(&'static str),
}

/// Who answers a request with these names for its session. Every prompt is another one.
async fn who_answers(to: SocketAddr, names: &[(Place, &str)], prompt: &str) -> String {
    let mut body = json!({"model": "m", "prompt": prompt});
    for (place, name) in names {
        if let Place::Field(key) = place {
            body[*key] = json!(name);
        }
    }
    let mut asked = request("POST", "/v1/completions", body.to_string());
    for (place, name) in names {
        if let Place::Header(header) = place {
            asked.headers_mut().insert(*header, HeaderValue::from_str(name).unwrap());
        }
    }
    let answer = send(to, asked).await.whole().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-warmroute-worker").to_owned()
}

async fn four_workers() -> [Worker; 4] {
    [
        Worker::start(Act::json("{}")).await,
        Worker::start(Act::json("{}")).await,
        Worker::start(Act::json("{}")).await,
        Worker::start(Act::json("{}")).await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_stays_on_one_worker_and_many_spread_over_all() {
    let workers = four_workers().await;
    let gateway = gateway_with(&workers.each_ref(), |config| config.set("policy", "session").unwrap()).await;
    let mut used = BTreeSet::new();
    for session in 0..40 {
        let names = [(PLACES[0], &*format!("session-{session}"))];
        let mut turns = BTreeSet::new();
        for turn in 0..3 {
            turns.insert(who_answers(gateway.address(), &names, &format!("{turn} of {session}")).await);
        }
        assert_eq!(turns.len(), 1, "session {session} has moved: {turns:?}");
        used.extend(turns);
    }
    assert_eq!(used.len(), 4, "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_names_the_first_that_is_not_empty_counts() {
    let workers = four_workers().await;
    let gateway = gateway_with(&workers.each_ref(), |config| config.set("policy", "session").unwrap()).await;
    let to = gateway.address();
    let one = who_answers(to, &[(PLACES[0], "one")], "a").await;
    let mut two = (String::from("two"), one.clone());
    while two.1 == one {
        two.0.push('o');
        two.1 = who_answers(to, &[(PLACES[0], &two.0)], "b").await;
    }
    for (at, place) in PLACES.into_iter().enumerate() {
        let behind = PLACES[at + 1..].iter().map(|later| (*later, &*two.0));
        let named: Vec<_> = std::iter::once((place, "one")).chain(behind.clone()).collect();
        assert_eq!(who_answers(to, &named, "c").await, one, "{place:?} counts more than all behind it");
        let empty: Vec<_> = std::iter::once((place, "")).chain(behind).collect();
        if empty.len() > 1 {
            assert_eq!(who_answers(to, &empty, "d").await, two.1, "an empty {place:?} does not count");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_a_hint_that_no_other_policy_follows() {
    let workers = four_workers().await;
    let gateway = gateway_with(&workers.each_ref(), |_| {}).await;
    let mut used = BTreeSet::new();
    for turn in ["a", "b", "c", "d"] {
        used.insert(who_answers(gateway.address(), &[(PLACES[0], "one")], turn).await);
    }
    assert_eq!(used.len(), 4, "requests go around in turn: {used:?}");
}
