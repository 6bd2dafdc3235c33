//! What is done to workers: at most half of them are harmed at once, each in one of a list of ways.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use warmroute_gateway::{RunningGateway, WorkerConfig};
use warmroute_routing::Chance;
use warmroute_worker::emulated::{self, EmulatedConfig, Pace, RunningEmulator};

/// Faults of the stand-in workers, as it is told of them.
const FAULTS: [&str; 11] = [
    "stall",
    "stall:p=0.3",
    "stall_midway:p=0.5",
    "reset_midway:p=0.5",
    "hang_up",
    "refuse",
    "status_500",
    "status_503",
    "status_429:p=0.5",
    "slow:ms=200",
    "unready",
];
/// Every request takes a worker that long.
const ANSWER: Duration = Duration::from_millis(20);

/// The workers, and what was done to them.
pub(crate) struct Workers {
    all: Vec<Slot>,
    /// If faults are all that is done, those whose names begin so.
    only: Option<String>,
    /// In the order in which they began.
    pub(crate) harms: Vec<Harm>,
}

/// What was done to a worker.
#[derive(Clone, Debug)]
pub(crate) struct Harm {
    pub(crate) worker: String,
    pub(crate) what: &'static str,
    pub(crate) began: Instant,
    pub(crate) ended: Option<Instant>,
}

/// A worker, or where one was.
struct Slot {
    address: SocketAddr,
    running: Option<RunningEmulator>,
    /// The gateway was told to let it go.
    removed: bool,
}

async fn worker(listen: SocketAddr) -> RunningEmulator {
    let grace = Duration::from_secs(2);
    let config = EmulatedConfig {
        listen,
        pace: Pace::Fixed(ANSWER),
        max_running: 32,
        grace,
        ..EmulatedConfig::default()
    };
    // A killed worker's listener goes a moment later than the worker.
    for _ in 0..100 {
        if let Ok(running) = emulated::start(config.clone()).await {
            return running;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{listen} does not become free")
}

impl Slot {
    async fn new() -> Self {
        let running = worker(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        Self { address: running.address(), running: Some(running), removed: false }
    }

    fn config(&self) -> WorkerConfig {
        format!("http://{}", self.address).parse().unwrap()
    }
}

impl Workers {
    pub(crate) async fn start(count: usize) -> Self {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(Slot::new().await);
        }
        Self { all, only: std::env::var("WARMROUTE_CHAOS_ONLY").ok(), harms: Vec::new() }
    }

    pub(crate) fn urls(&self) -> Vec<WorkerConfig> {
        self.all.iter().map(Slot::config).collect()
    }

    /// Harms some; says what was done.
    pub(crate) async fn harm(&mut self, chance: &mut Chance, gateway: &RunningGateway) -> String {
        let mut done = Vec::new();
        for _ in 0..=chance.below(self.all.len() / 2) {
            let place = chance.below(self.all.len());
            let slot = &mut self.all[place];
            let (worker, began) = (slot.address.to_string(), Instant::now());
            let what = match &self.only {
                Some(only) => break_down(slot, only, chance),
                None => harm(slot, chance, gateway).await,
            };
            self.harms.push(Harm { worker, what, began, ended: None });
            done.push(format!("{place}: {what}"));
        }
        done.join(", ")
    }

    /// Everybody is well again: killed workers start where they were, removed ones are replaced by others.
    pub(crate) async fn mend(&mut self, gateway: &RunningGateway) {
        for slot in &mut self.all {
            match (&slot.running, slot.removed) {
                (Some(running), false) => running.faults().clear(),
                (_, true) => {
                    *slot = Slot::new().await;
                    assert!(gateway.add_worker(&slot.config()));
                }
                (None, false) => slot.running = Some(worker(slot.address).await),
            }
        }
        let now = Instant::now();
        self.harms.iter_mut().for_each(|harm| _ = harm.ended.get_or_insert(now));
    }

    /// Requests that are still at some worker.
    pub(crate) async fn left_over(&self) -> usize {
        let mut left = 0;
        for running in self.all.iter().filter_map(|slot| slot.running.as_ref()) {
            running.idle().await;
            left += running.in_flight();
        }
        left
    }
}

/// One of the faults whose names begin so.
fn break_down(slot: &Slot, only: &str, chance: &mut Chance) -> &'static str {
    let faults: Vec<_> = FAULTS.into_iter().filter(|fault| fault.starts_with(only)).collect();
    let fault = faults[chance.below(faults.len())];
    slot.running.as_ref().unwrap().faults().add(fault.parse().unwrap());
    fault
}

async fn harm(slot: &mut Slot, chance: &mut Chance, gateway: &RunningGateway) -> &'static str {
    let Some(running) = slot.running.take() else { return "is down already" };
    match chance.below(FAULTS.len() + 4) {
        0 => {
            running.kill();
            "killed"
        }
        1 => {
            running.shutdown().await;
            "stopped in good order"
        }
        2 => {
            running.kill();
            slot.running = Some(worker(slot.address).await);
            "killed and restarted at once"
        }
        3 => {
            gateway.remove_worker(&slot.config());
            slot.removed = true;
            // What it still has may end.
            slot.running = Some(running);
            "drained and removed"
        }
        fault => {
            let fault = FAULTS[fault - 4];
            running.faults().add(fault.parse().unwrap());
            slot.running = Some(running);
            fault
        }
    }
}
