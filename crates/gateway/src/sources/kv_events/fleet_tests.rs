//! A worker that publishes, from its sockets to the router's index: the index holds what it tells, whatever is lost, or a shadow speaks.

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use warmroute_kv::BlockHash;
use warmroute_routing::{Publishes, Request, WorkerSpec};
use zeromq::{SocketSend, ZmqMessage};

use super::engine::{Engine, PATIENCE};
use super::*;
use crate::config::{GatewayConfig, WorkerConfig};
use crate::sources::describe::Description;
use crate::sources::truth::{Answer, Honesty};
use crate::sources::worker::Health;

const SETTINGS: &str = "[[models]]\nname = \"m\"\ntokenizer = \"/t\"\nblock_tokens = 1";

/// A gateway's view of one engine, and what the engine holds.
struct World {
    engine: Engine,
    core: Arc<Core>,
    worker: Arc<Worker>,
    models: Vec<serde_json::Value>,
    holds: BTreeSet<u32>,
    _task: JoinSet<()>,
}

fn name(token: u32) -> BlockHash {
    warmroute_kv::Namespace { model: "m", ..Default::default() }.root().next_tokens(&[token])
}

impl World {
    async fn new(settings: &str) -> Self {
        Self::serving(&[serde_json::json!({"id": "m"})], settings).await
    }

    /// With an engine that lists these models.
    async fn serving(models: &[serde_json::Value], settings: &str) -> Self {
        let engine = Engine::start().await;
        let config = Arc::new(Live::new(GatewayConfig::from_toml(settings).unwrap()));
        let core = Arc::new(Core::new(&config.now()));
        let mut told: WorkerConfig = "http://w:1".parse().unwrap();
        told.kv_events = vec![engine.source.events.clone()];
        told.kv_replay = engine.source.replay.iter().cloned().collect();
        let worker = Arc::new(Worker::new(WorkerId(0), &told));
        let mut task = JoinSet::new();
        let (listening, hearer) = (Arc::clone(&worker), Arc::clone(&core));
        task.spawn(async move { listen(&listening, &hearer, &config).await });
        let mut world =
            Self { engine, core, worker, models: models.to_vec(), holds: BTreeSet::new(), _task: task };
        world.join();
        world.engine.heard().await;
        world
    }

    /// As its checker does when it comes up.
    fn join(&self) {
        self.worker.describe(Description {
            block: Some(Tokens(1)),
            models: self.models.clone(),
            ..Description::default()
        });
        let spec = WorkerSpec { capacity: Some(Tokens(1_000)), publishes: Publishes::Nothing };
        self.core.observe(Event::Joined { worker: WorkerId(0), spec });
        self.worker.set_health(Health::Up);
    }

    fn leave(&self) {
        self.core.observe(Event::Left { worker: WorkerId(0) });
        self.worker.set_health(Health::Down);
    }

    async fn store(&mut self, token: u32, lost: bool) {
        self.engine.store(token, lost).await;
        self.holds.insert(token);
    }

    async fn remove(&mut self, token: u32, lost: bool) {
        self.engine.remove(token, lost).await;
        self.holds.remove(&token);
    }

    /// What the router's index has of this engine's blocks, of all those that there ever were.
    fn indexed(&self) -> (BTreeSet<u32>, usize) {
        let known = |token: &u32| self.core.held(WorkerId(0), &[name(*token)]).0 == 1;
        ((0..2_000).filter(known).collect(), self.core.held(WorkerId(0), &[]).1)
    }

    /// Waits until the index is what the engine holds: what a fresh replay of all it ever said would make.
    async fn is_indexed(&self) {
        let equal = async {
            while self.indexed() != (self.holds.clone(), self.holds.len()) {
                tokio::task::yield_now().await;
            }
        };
        let view = || format!("{:?} {:?} of {:?}", self.worker.cache_view(), self.indexed(), self.holds);
        timeout(PATIENCE, equal).await.unwrap_or_else(|_| panic!("{}", view()));
    }

    async fn is_spoken_for(&self, exact: bool) {
        let spoken = async {
            while self.worker.cache_view().exact != exact {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, spoken).await.unwrap_or_else(|_| panic!("{:?}", self.worker.cache_view()));
    }

    /// How many of the worker's messages a decision knows.
    fn known(&self) -> Option<u64> {
        let prompt = [name(1)];
        let request = Request { prompt: 1, ..Request::new(BlockHash(0), &prompt) };
        let (decision, _) = self.core.route(&request, Instant::now()).expect("the worker is up");
        decision.told?.heard
    }

    fn statement(&self) -> Statement {
        self.worker.kv_account().unwrap().statement()
    }
}

#[tokio::test]
async fn blocks_are_named_for_the_first_name_of_their_weights_whichever_is_listed() {
    let names = ["first", "m"].map(|name| serde_json::json!({"id": name, "root": "/models/m"}));
    let mut world = World::serving(&names, SETTINGS).await;
    world.store(7, false).await;
    world.is_spoken_for(true).await;
    let root = warmroute_kv::Namespace { model: "first", ..Default::default() }.root();
    assert_eq!(world.core.held(WorkerId(0), &[root.next_tokens(&[7])]).0, 1);
}

#[tokio::test]
async fn a_worker_speaks_for_itself_once_it_is_heard_and_the_index_follows() {
    let mut world = World::new(SETTINGS).await;
    assert_eq!((world.worker.cache_view().exact, world.known()), (false, None), "nothing was heard");
    for token in 0..50 {
        world.store(token, false).await;
    }
    world.is_indexed().await;
    assert_eq!(world.known(), Some(50), "with its blocks its messages are counted");
    for token in 0..20 {
        world.remove(token, false).await;
    }
    world.is_indexed().await;
    assert_eq!((world.worker.cache_view().exact, world.known()), (true, Some(70)));
}

#[tokio::test]
async fn where_prompts_are_texts_a_shadow_speaks_and_says_why() {
    for (settings, reason) in
        [("", Objection::TextMode), (&SETTINGS.replace("= 1", "= 16"), Objection::BlockSize)]
    {
        let mut world = World::new(settings).await;
        world.store(1, false).await;
        let heard = async {
            while world.statement().blocks == 0 || world.worker.cache_view().objection.is_none() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, heard).await.unwrap();
        assert_eq!(world.indexed().1, 0);
        let view = world.worker.cache_view();
        assert_eq!((view.exact, view.objection), (false, Some(reason)));
    }
}

#[tokio::test]
async fn what_is_lost_or_garbage_is_made_good_in_the_index() {
    let mut world = World::new(SETTINGS).await;
    for token in 0..1_000 {
        // Every tenth is lost, and now and then comes what is no message.
        world.store(token, token % 10 == 3).await;
        if token >= 100 {
            world.remove(token - 100, token % 10 == 7).await;
        }
        if token % 100 == 50 {
            let garbage = Bytes::from_static(b"\xff\x00\xc1");
            world.engine.socket.send(ZmqMessage::from(garbage)).await.unwrap();
        }
    }
    // The last one is not lost: a loss shows with the next message.
    world.store(1_500, false).await;
    world.is_indexed().await;
    let told = world.statement();
    assert!(told.gaps > 0 && told.unreadable == 10, "{told:?}");
    assert!(world.worker.cache_view().exact);
}

#[tokio::test]
async fn an_engine_that_restarts_is_indexed_from_nothing() {
    let mut world = World::new(SETTINGS).await;
    for token in 0..10 {
        world.store(token, false).await;
    }
    world.is_indexed().await;
    let World { engine, core, worker, _task, .. } = world;
    let KvSource { events, replay, .. } = engine.stop().await;
    let engine = Engine::start_at(events.as_str(), replay.unwrap().as_str(), true).await;
    let mut world = World { engine, core, worker, models: Vec::new(), holds: BTreeSet::new(), _task };
    world.store(77, true).await;
    world.engine.heard().await;
    world.is_indexed().await;
}

#[tokio::test]
async fn a_worker_that_was_down_is_listened_to_anew() {
    let mut world = World::new(SETTINGS).await;
    world.store(1, false).await;
    world.is_indexed().await;
    world.leave();
    world.is_spoken_for(false).await;
    for token in 2..40 {
        world.store(token, true).await;
    }
    world.remove(1, true).await;
    world.join();
    world.is_indexed().await;
    // So quickly that nobody saw it go.
    world.leave();
    world.join();
    world.engine.heard().await;
    world.store(99, false).await;
    world.is_indexed().await;
    assert!(world.worker.cache_view().exact);
}

#[tokio::test]
async fn what_is_predicted_of_a_worker_that_is_not_heard_says_nothing_of_its_honesty() {
    let mut world = World::new(SETTINGS).await;
    world.store(1, false).await;
    world.is_indexed().await;
    let World { engine, worker, _task, .. } = world;
    let _gone = engine.stop().await;
    let unheard = async {
        while worker.kv_account().unwrap().state() == Hearability::Live {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, unheard).await.expect("it is missed");
    let wrong = Answer { predicted: Tokens(500), told: true, rehearsed: None, reported: Some(Tokens::ZERO) };
    (0..100).for_each(|_| worker.answered(&wrong));
    assert_eq!(worker.cache_view().honesty, Honesty::Unknown);
}

#[tokio::test]
async fn events_that_mislead_are_not_believed_until_they_would_have_been_right() {
    let mut world = World::new(SETTINGS).await;
    for token in 0..30 {
        world.store(token, false).await;
    }
    world.is_indexed().await;
    let reports = |reported| Some(Tokens(reported));
    let wrong = Answer { predicted: Tokens(500), told: true, rehearsed: None, reported: reports(0) };
    (0..32).for_each(|_| world.worker.answered(&wrong));
    world.is_spoken_for(false).await;
    assert_eq!(world.indexed().1, 0, "the shadow has seen nothing");
    let view = world.worker.cache_view();
    assert_eq!((view.objection, view.honesty), (Some(Objection::Misleading), Honesty::Misleading));
    world.store(31, false).await;
    // Of a prompt of two blocks, of which it holds the first; whole ones are never taken in full.
    let blocks = [name(5), name(5).next_tokens(&[1_999])];
    let request = Request { prompt: 2, block: 1.into(), ..Request::new(BlockHash(0), &blocks) };
    let rehearsed = world.worker.rehearse(&request);
    assert_eq!(rehearsed, Some(Tokens(1)));
    let right = Answer { predicted: Tokens(0), told: false, rehearsed, reported: reports(1) };
    (0..40).for_each(|_| world.worker.answered(&right));
    world.is_spoken_for(true).await;
    world.is_indexed().await;
    assert_eq!(world.worker.rehearse(&request), None, "it is believed");
}
