//! The live load generator: a closed loop of N clients that sends a list of requests in order and loses none.
//!
//! Closed loop means that a client sends its next request when its last has ended, so a slow policy is not drowned by
//! arrivals it could not keep up with and every policy is given the same work. All clients are one task: dropping
//! [`Load::run`] drops every connection, and no request outlives it.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use warmroute_kv::Tokens;

use self::ask::{Order, ask};
use crate::client::Server;
use crate::workload::Request;

mod answer;
mod ask;

/// How requests are sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// The model to name in each.
    pub model: String,
    /// Requests in flight at once.
    pub clients: usize,
    /// Tokens each may be answered with.
    pub max_tokens: u32,
    /// Longest wait for a whole answer; what takes longer is a failure.
    pub timeout: Duration,
}

/// A complete answer and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// From sending the request to the first text; to the end if there was no text at all.
    pub ttft: Duration,
    /// From sending the request to the end of the answer.
    pub latency: Duration,
    /// Tokens of the prompt, as the worker counts them; none if it does not tell.
    pub prompt: Tokens,
    /// Those that it had in its cache; none if it does not tell.
    pub cached: Tokens,
    /// What was said.
    pub said: Said,
    /// The worker that said it, where a gateway names it.
    pub worker: Option<String>,
}

/// The part of an answer that caches and routing must not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The text.
    pub text: String,
    /// Its length in tokens: equal texts of different tokens are different answers.
    pub tokens: Tokens,
    /// Why it ended, as the worker puts it.
    pub finish: Option<String>,
}

/// A request without a complete answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The HTTP status, if it came to one.
    pub status: Option<u16>,
    /// What went wrong.
    pub message: String,
}

/// What became of each request, in the order of the list.
pub type Outcomes = Vec<Result<Answer, Failure>>;

impl Load {
    /// Sends all `requests` to `server`, and tells `ended` each time one has ended.
    pub async fn run(&self, server: &Server, requests: &[Request], ended: impl Fn()) -> Outcomes {
        let orders = requests.iter().map(|request| Order { body: &request.body, salt: None, server });
        self.all(orders, ended).await
    }

    /// Sends each of `requests` under a cache salt of its own, so that no cache can have anything for it, to the servers
    /// in turn.
    pub async fn run_uncached(
        &self,
        servers: &[Server],
        requests: &[&Request],
        ended: impl Fn(),
    ) -> Outcomes {
        let in_turn = requests.iter().zip(servers.iter().cycle()).enumerate();
        let orders = in_turn.map(|(place, (request, server))| {
            // The process id keeps two runs against one long-lived worker apart.
            let salt = Some(format!("reference-{}-{place}", std::process::id()));
            Order { body: &request.body, salt, server }
        });
        self.all(orders, ended).await
    }

    async fn all<'a>(&self, orders: impl Iterator<Item = Order<'a>>, ended: impl Fn()) -> Outcomes {
        // Unordered, because an ordered buffer lets an answer that is early hold a client's place until its turn comes.
        let mut outcomes: Vec<_> = stream::iter(orders.enumerate())
            .map(|(place, order)| async move { (place, ask(self, &order).await) })
            .buffer_unordered(self.clients.max(1))
            .inspect(|_| ended())
            .collect()
            .await;
        outcomes.sort_by_key(|(place, _)| *place);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruler::Ruler;
    use crate::tests::stand_in::{Behaviour, StandIn};
    use crate::workload::{Kind, Shape, Workload};

    async fn desks() -> Workload {
        let shape = Shape { desks: 3, questions: 4, ..Shape::default() };
        Workload::build(Kind::Desks, &shape, &Ruler::Estimate).await.unwrap()
    }

    fn load(clients: usize) -> Load {
        Load { model: "stand-in".to_owned(), clients, max_tokens: 16, timeout: Duration::from_secs(5) }
    }

    #[tokio::test]
    async fn every_request_is_answered_in_its_place() {
        let server = StandIn::start(Behaviour::default()).await;
        let desks = desks().await;
        let ended = std::cell::Cell::new(0);
        let outcomes = load(4).run(&server.client(), &desks.requests, || ended.set(ended.get() + 1)).await;
        assert_eq!((outcomes.len(), ended.get()), (12, 12));
        let again = load(1).run(&server.client(), &desks.requests, || ()).await;
        for (one, other) in outcomes.iter().zip(&again) {
            let (one, other) = (one.as_ref().unwrap(), other.as_ref().unwrap());
            assert_eq!(one.said, other.said);
            assert_eq!(
                other.cached.0,
                (other.prompt.0 - 1) / 16 * 16,
                "all but the last token of whole blocks"
            );
            assert!(one.ttft <= one.latency && one.worker.as_deref() == Some("stand-in"));
        }
        assert!(
            server.most_at_once() <= 4,
            "a closed loop of 4 clients had {} in flight",
            server.most_at_once()
        );
    }

    #[tokio::test]
    async fn uncached_requests_hit_nothing_even_when_repeated() {
        let server = StandIn::start(Behaviour::default()).await;
        let desks = desks().await;
        let twice: Vec<&Request> = desks.requests.iter().chain(&desks.requests).collect();
        let outcomes = load(2).run_uncached(&[server.client()], &twice, || ()).await;
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap().cached == Tokens::ZERO));
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_is_a_failure_and_so_is_an_error_event_or_status() {
        for (behaviour, expected) in [
            (Behaviour { break_off: true, ..Behaviour::default() }, "broke off"),
            (Behaviour { error_event: true, ..Behaviour::default() }, "worker is gone"),
            (Behaviour { no_done: true, ..Behaviour::default() }, "without its end"),
            (Behaviour { status: 503, ..Behaviour::default() }, "503"),
            (Behaviour { hang: true, ..Behaviour::default() }, "within"),
        ] {
            let server = StandIn::start(behaviour).await;
            let impatient = Load { timeout: Duration::from_millis(200), ..load(4) };
            let outcomes = impatient.run(&server.client(), &desks().await.requests, || ()).await;
            assert_eq!(outcomes.len(), 12, "no request is lost");
            for outcome in outcomes {
                let failure = outcome.unwrap_err();
                assert!(failure.message.contains(expected), "expected `{expected}` in: {failure}");
            }
        }
    }
}
