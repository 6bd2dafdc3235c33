//! A closed loop: so many connections, each sends its next request when it has its answer.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::connection::{Answer, Connection};

/// How long an answer may take; beyond it, it counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Failures in a row after which a connection gives up: the proxy is gone, and trying on would be a busy loop.
const FAILURES: u32 = 50;

/// What came of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    pub answers: Vec<Answer>,
    pub failed: u64,
    pub seconds: f64,
}

/// Runs a load. `next` writes a connection's next request, or says that there is none; about `pause` passes between an answer
/// and the next request.
pub async fn run(
    port: u16,
    connections: usize,
    pause: Duration,
    next: impl FnMut(usize, &mut Vec<u8>) -> bool,
) -> Outcome {
    let (next, outcome) = (RefCell::new(next), RefCell::new(Outcome::default()));
    let start = Instant::now();
    let (asks, told) = (&next, &outcome);
    let one = |place| one(port, pause, told, move |request| asks.borrow_mut()(place, request));
    join_all((0..connections).map(one)).await;
    let mut outcome = outcome.into_inner();
    outcome.seconds = start.elapsed().as_secs_f64();
    outcome
}

async fn one(
    port: u16,
    pause: Duration,
    outcome: &RefCell<Outcome>,
    mut next: impl FnMut(&mut Vec<u8>) -> bool,
) {
    let (mut connection, mut request, mut in_a_row) = (None, Vec::new(), 0);
    let mut rng = fastrand::Rng::new();
    while in_a_row < FAILURES && next(&mut request) {
        match tokio::time::timeout(PATIENCE, ask(port, &mut connection, &request)).await {
            Ok(Ok(answer)) if answer.status == 200 => {
                outcome.borrow_mut().answers.push(answer);
                in_a_row = 0;
            }
            _ => {
                outcome.borrow_mut().failed += 1;
                (connection, in_a_row) = (None, in_a_row + 1);
            }
        }
        if !pause.is_zero() {
            // Never in step with the other connections.
            tokio::time::sleep(pause.mul_f64(0.5 + rng.f64())).await;
        }
    }
}

async fn ask(port: u16, connection: &mut Option<Connection>, request: &[u8]) -> anyhow::Result<Answer> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(port).await?),
    };
    connection.ask(request).await
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.answers.len() as f64 / self.seconds
    }

    /// That share of the answers took no longer, in microseconds; of one of their times.
    pub fn quantile(&self, share: f64, time: fn(&Answer) -> f64) -> f64 {
        let mut times: Vec<_> = self.answers.iter().map(time).collect();
        if times.is_empty() {
            return f64::NAN;
        }
        times.sort_unstable_by(f64::total_cmp);
        times[((times.len() - 1) as f64 * share).round() as usize]
    }

    /// Cached tokens over tokens of prompts, of the answers that say.
    pub fn hit_rate(&self) -> f64 {
        let told = self.answers.iter().filter_map(|answer| answer.usage);
        let (prompt, cached) = told.fold((0, 0), |sum, usage| (sum.0 + usage.0, sum.1 + usage.1));
        cached as f64 / prompt as f64
    }
}
