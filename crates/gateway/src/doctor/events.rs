//! Whether a worker's KV events come, and whether they tell what it reports.
//!
//! The worker is listened to before it is asked anything, so that the blocks of the probe must be heard. What a plain TCP connection
//! shows is looked at first: a port where nothing listens has another cure than one where something is silent.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, timeout};
use warmroute_kv::wire::Naming;
use warmroute_kv::{Namespace, TokenId, Tokens, token_chain};

use super::finding::{Chart, Check};
use super::probe::Probe;
use crate::config::{KvEndpoint, KvSource, WorkerConfig};
use crate::sources::kv_events::{Account, Hearability, Statement, follow};

/// vLLM publishes what it has done at its next step; nobody takes longer when idle.
const PATIENCE: Duration = Duration::from_secs(5);
const CONNECTING: Duration = Duration::from_secs(2);
/// Between two looks at what was heard.
const PAUSE: Duration = Duration::from_millis(20);

/// Somebody who listens to one worker.
pub(super) struct Listener<'a> {
    worker: &'a WorkerConfig,
    model: &'a str,
    block: Tokens,
    ear: Ear,
    /// Hears all topics, where the worker's settings name one.
    all: Option<Ear>,
}

/// One way of listening.
struct Ear {
    account: Arc<Account>,
    /// Messages heard before the probe.
    before: u64,
    _task: JoinSet<()>,
}

impl Ear {
    fn open(sources: Vec<KvSource>, naming: Naming) -> Self {
        let account = Arc::new(Account::new(naming, sources.len(), Box::new(drop)));
        let (mut task, followed) = (JoinSet::new(), Arc::clone(&account));
        task.spawn(async move { follow(&followed, &sources).await });
        Self { account, before: 0, _task: task }
    }

    fn heard(&self) -> u64 {
        let told = self.account.statement();
        (told.batches + told.unreadable).saturating_sub(self.before)
    }
}

impl<'a> Listener<'a> {
    /// Listens from now on; nothing if the worker is not said to publish, or cannot be reached where it is said to.
    pub(super) async fn to(
        worker: &'a WorkerConfig,
        model: &'a str,
        block: Tokens,
        chart: &mut Chart,
    ) -> Option<Self> {
        let sources = worker.kv_sources();
        if sources.is_empty() {
            chart.note(
                Check::Events,
                "no kv_events are set: what it holds is guessed from what it was sent",
                "if it is vLLM or SGLang, start it with --kv-events-config, and set kv_events and kv_replay in [[workers]]",
            );
            return None;
        }
        if !ports_answer(&sources, chart).await {
            return None;
        }
        let naming = Naming::new(model, block);
        let all = (!worker.kv_topic.is_empty()).then(|| {
            let any = |source: &KvSource| KvSource {
                topic: String::new(),
                replay: None,
                events: source.events.clone(),
            };
            Ear::open(sources.iter().map(any).collect(), naming.clone())
        });
        let mut listener = Self { worker, model, block, ear: Ear::open(sources, naming), all };
        listener.settle().await;
        Some(listener)
    }

    /// Gives it the time to connect and to hear what was before.
    async fn settle(&mut self) {
        let ears = || [Some(&self.ear), self.all.as_ref()].into_iter().flatten();
        let settled = |state| matches!(state, Hearability::Live | Hearability::Silent);
        until(|| ears().all(|ear| settled(ear.account.statement().state))).await;
        for ear in [Some(&mut self.ear), self.all.as_mut()].into_iter().flatten() {
            ear.before = ear.heard();
        }
    }

    /// Says what was heard of the probe, whose tokens are given if they are certain.
    pub(super) async fn examine(&self, tokens: Option<&[TokenId]>, probe: &Probe, chart: &mut Chart) {
        match tokens {
            Some(tokens) => until(|| self.depth(tokens) >= tokens.len() / self.block.get()).await,
            None => until(|| self.ear.heard() > 0).await,
        }
        let told = self.ear.account.statement();
        self.judge_replay(&told, chart);
        if !self.judge_hearing(&told, chart) {
            return;
        }
        if let (Some(tokens), Some(reported)) = (tokens, probe.cached) {
            self.judge_prediction(tokens, reported, chart);
        }
    }

    fn judge_replay(&self, told: &Statement, chart: &mut Chart) {
        if self.worker.kv_replay.len() < self.worker.kv_events.len() {
            chart.note(
                Check::Replay,
                "no kv_replay is set for all of its endpoints: what is missed is lost, and what was before is never known",
                "set \"replay_endpoint\" in the engine's --kv-events-config, and kv_replay in [[workers]]",
            );
        } else if told.state == Hearability::Stale {
            chart.failed(
                Check::Replay,
                "something listens at kv_replay and does not replay",
                "see that kv_replay is the engine's replay_endpoint, and not its endpoint or another's",
            );
        } else {
            chart.ok(Check::Replay, "it replays what was before");
        }
    }

    /// Whether there is anything to compare.
    fn judge_hearing(&self, told: &Statement, chart: &mut Chart) -> bool {
        if told.losses.missized > 0 {
            let seen = format!(
                "{} blocks of its events have another size than {} tokens",
                told.losses.missized, self.block
            );
            chart.failed(
                Check::BlockSize,
                seen,
                "set block_tokens in [[models]] to the engine's --block-size (SGLang: --page-size)",
            );
            return false;
        }
        if told.unreadable > 0 {
            let seen = format!("{} of its messages or events cannot be read", told.unreadable);
            chart.failed(Check::Events, seen, "see that it is an engine's endpoint; an engine newer than this gateway may need a newer gateway");
            return false;
        }
        if self.ear.heard() > 0 {
            chart.ok(Check::Events, format!("{} messages heard, {} blocks held", told.batches, told.blocks));
            return true;
        }
        let topic = &self.worker.kv_topic;
        match &self.all {
            Some(all) if all.heard() > 0 => chart.failed(
                Check::Events,
                format!("events come, and none of a topic that begins with {topic:?}"),
                "correct kv_topic in [[workers]], or leave it out to hear all topics",
            ),
            _ => chart.failed(
                Check::Events,
                "it read a prompt, and no event of that came",
                "see that events are on (vLLM: \"enable_kv_cache_events\": true, \"publisher\": \"zmq\") and that kv_events is this worker's endpoint",
            ),
        }
        false
    }

    fn judge_prediction(&self, tokens: &[TokenId], reported: Tokens, chart: &mut Chart) {
        let depth = self.depth(tokens);
        // An engine computes at least the last token.
        let usable = depth.min(tokens.len().saturating_sub(1) / self.block.get());
        let predicted = Tokens::of(usable * self.block.get());
        if predicted == reported {
            chart.ok(
                Check::Prediction,
                format!("{} tokens cached by its events and by its report", reported.0),
            );
        } else if depth == 0 {
            let endpoints: Vec<_> = self.worker.kv_events.iter().map(ToString::to_string).collect();
            let seen = format!(
                "blocks of a prompt that it has read are not in the events of {}",
                endpoints.join(", ")
            );
            chart.failed(
                Check::Prediction,
                seen,
                "these may be another worker's: see which endpoint belongs to which url in [[workers]]",
            );
        } else {
            let seen = format!("{} tokens cached by its events, {} by its report", predicted.0, reported.0);
            chart.failed(
                Check::Prediction,
                seen,
                "see that its events come from one engine only, and that nothing else asks it meanwhile",
            );
        }
    }

    /// Leading blocks of the prompt that it holds by its events.
    fn depth(&self, tokens: &[TokenId]) -> usize {
        let root = Namespace { model: self.model, ..Namespace::default() }.root();
        let chain: Vec<_> = token_chain(root, tokens, self.block.get()).collect();
        self.ear.account.leading(&chain)
    }
}

/// Waits until it is enough, or patience ends.
async fn until(enough: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !enough() && Instant::now() < end {
        sleep(PAUSE).await;
    }
}

/// Whether something listens wherever we would connect to.
async fn ports_answer(sources: &[KvSource], chart: &mut Chart) -> bool {
    let mut all = true;
    for source in sources {
        let replay = source.replay.as_ref().map(|endpoint| (Check::Replay, "kv_replay", endpoint));
        for (check, setting, endpoint) in
            [Some((Check::Events, "kv_events", &source.events)), replay].into_iter().flatten()
        {
            if let Err(error) = reach(endpoint).await {
                let fix = match check {
                    Check::Replay => {
                        "set \"replay_endpoint\" in the engine's --kv-events-config to this address, or correct it in [[workers]]"
                    }
                    _ => {
                        "turn events on (--kv-events-config) with this endpoint, or correct it in [[workers]]; an engine with a plain address in its endpoint connects to us: write tcp://*:PORT"
                    }
                };
                chart.failed(check, format!("{setting} {endpoint} cannot be connected to: {error}"), fix);
                all = false;
            }
        }
    }
    all
}

async fn reach(endpoint: &KvEndpoint) -> std::io::Result<()> {
    // Where we listen, it is the engine's to connect.
    if endpoint.bound().is_some() {
        return Ok(());
    }
    let address = endpoint.as_str().trim_start_matches("tcp://");
    let too_slow = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "it took too long");
    timeout(CONNECTING, TcpStream::connect(address)).await.map_err(too_slow)?.map(drop)
}
