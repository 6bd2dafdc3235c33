//! The other gateways of a fleet: each tells the others what it has under way and what it has sent, and hears that of them.
//!
//! A gateway reads one long stream from each other one, over the listener of its admin API and guarded as that is: `GET /peers/feed`, made
//! by [`feed`], read by [`follow`], in the words of [`frame`]. What is heard goes into a [`table`] and from there to the router: loads as
//! [`Event::Elsewhere`], requests as [`Event::Sent`] and what follows it, and how many share the traffic as [`Event::Shared`]. Workers are named by host and port
//! and stand in the order of their names, since every gateway numbers them for itself.
//!
//! Nothing of it has to be right: what is lost, late or false costs hits and evenness, never an answer. A gateway that falls silent counts
//! for nothing a few seconds later.

mod feed;
mod follow;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzed;
mod naming;
mod outbox;
mod shown;
mod table;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use warmroute_kv::Tokens;
use warmroute_routing::{BookingId, Distant, Event, Usage, WorkerId};

pub(crate) use self::feed::Feed;
use self::follow::Follower;
use self::frame::Frame;
pub(crate) use self::outbox::{Outbox, Word};
use self::shown::Shown;
use self::table::{Known, Table};
use crate::config::{self, Live, MOST_PEERS, PeerConfig, WorkerUrl};
use crate::core::Core;
use crate::sources::Fleet;
use crate::sources::discovery::{self, Source};
use crate::upstream::Upstream;

/// The router is told everything anew so often: workers come and go, and one that comes back starts without what others have there.
const RENEWED: Duration = Duration::from_secs(1);

/// What listens to other gateways, and what it listens with.
pub(crate) struct Peers {
    id: u64,
    core: Arc<Core>,
    fleet: Arc<Fleet>,
    upstream: Upstream,
    config: Arc<Live>,
    /// Held until the router has been told what follows from a change, so that it hears of changes in their order.
    table: Mutex<Heard>,
    shown: Shown,
    alive: watch::Sender<usize>,
    /// What is listened to, by how it is written in the settings.
    followed: Mutex<HashMap<PeerConfig, CancellationToken>>,
    tasks: TaskTracker,
    abort: CancellationToken,
}

struct Heard {
    table: Table,
    renewed: Instant,
}

/// What [`Peers`] works with.
pub(crate) struct Parts {
    pub core: Arc<Core>,
    pub fleet: Arc<Fleet>,
    pub upstream: Upstream,
    pub config: Arc<Live>,
}

impl Peers {
    /// Listens to nobody yet. Those who do are tasks of `tasks` and run until `abort`.
    pub(crate) fn new(parts: Parts, tasks: TaskTracker, abort: CancellationToken) -> Self {
        let Parts { core, fleet, upstream, config } = parts;
        let (_, id) = Uuid::now_v7().as_u64_pair();
        Self {
            id,
            core,
            fleet,
            upstream,
            config,
            table: Mutex::new(Heard { table: Table::new(id), renewed: Instant::now() }),
            shown: Shown::default(),
            alive: watch::Sender::new(0),
            followed: Mutex::default(),
            tasks,
            abort,
        }
    }

    /// This gateway's own name among them, drawn at its start.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Waits until so many other gateways are heard.
    pub(crate) async fn wait_for(&self, count: usize) {
        // The sender lives in `self`, so the channel cannot close under us.
        let _ = self.alive.subscribe().wait_for(|alive| *alive == count).await;
    }

    /// For the admin API.
    pub(crate) fn json(&self) -> Value {
        let part = self.table.lock().table.part();
        json!({
            "gateway": format!("{:016x}", self.id),
            "part": {"which": part.which, "of": part.of},
            "peers": self.shown.json(),
        })
    }

    /// Listens to these from now on, and to no others.
    pub(crate) fn follow(self: &Arc<Self>, list: &config::Peers) {
        let mut followed = self.followed.lock();
        followed.retain(|peer, until| {
            let stays = list.0.contains(peer);
            if !stays {
                until.cancel();
            }
            stays
        });
        for peer in &list.0 {
            let Entry::Vacant(new) = followed.entry(peer.clone()) else { continue };
            let until = new.insert(self.abort.child_token()).clone();
            match peer.clone() {
                PeerConfig::At(url) => self.listen_to(url, until),
                PeerConfig::Dns { host, port } => {
                    let names = discovery::addresses(host, port, self.config.now().dns_server.0);
                    let peers = Arc::clone(self);
                    self.tasks.spawn(async move {
                        until.run_until_cancelled(peers.listen_to_all(names, &until)).await;
                    });
                }
            }
        }
    }

    /// Listens to whoever a name stands for, as that changes.
    async fn listen_to_all(self: Arc<Self>, mut names: impl Source, until: &CancellationToken) {
        let mut there: HashMap<WorkerUrl, CancellationToken> = HashMap::new();
        loop {
            let told = match names.next().await {
                Ok(told) => told,
                Err(error) => {
                    tracing::warn!(%error, "no gateways were told; those known before stay");
                    continue;
                }
            };
            let urls: Vec<WorkerUrl> = told.into_iter().map(|one| one.url).take(MOST_PEERS).collect();
            there.retain(|url, until| {
                urls.contains(url) || {
                    until.cancel();
                    false
                }
            });
            for url in urls {
                if let Entry::Vacant(new) = there.entry(url.clone()) {
                    self.listen_to(url, new.insert(until.child_token()).clone());
                }
            }
        }
    }

    fn listen_to(self: &Arc<Self>, url: WorkerUrl, until: CancellationToken) {
        self.shown.add(&url);
        let peers = Arc::clone(self);
        self.tasks.spawn(async move {
            let follower =
                Follower { peers: Arc::clone(&peers), upstream: peers.upstream.clone(), url: url.clone() };
            until.run_until_cancelled(follower.follow()).await;
            peers.shown.remove(&url);
        });
    }

    /// Another gateway is heard, until what this returns is dropped.
    fn enter(&self, gateway: u64) -> Result<Entered<'_>, Known> {
        let mut heard = self.table.lock();
        heard.table.enter(gateway)?;
        self.changed(&mut heard);
        Ok(Entered { peers: self, gateway })
    }

    /// Another gateway has told this.
    fn hear(&self, gateway: u64, frame: &Frame, same_names: bool) {
        self.core.metrics.peer_told(if same_names { frame.sent.len() } else { 0 }, frame.lost);
        let mut heard = self.table.lock();
        let reshared = heard.table.take(gateway, &frame.loads, frame.draining);
        if reshared || heard.renewed.elapsed() >= RENEWED {
            self.renew(&mut heard);
        }
        if frame.is_empty() {
            return;
        }
        let workers = self.workers();
        let by_name: HashMap<&str, WorkerId> = workers.iter().map(|(name, id)| (&**name, *id)).collect();
        let changed = frame.loads.iter().filter_map(|told| {
            let worker = *by_name.get(&*told.worker)?;
            Some(Event::Elsewhere { worker, load: heard.table.load(&told.worker) })
        });
        self.core.hear(changed);
        drop(heard);
        if same_names {
            self.core.hear(words(gateway, frame, &by_name));
        }
    }

    /// Somebody came or went.
    fn changed(&self, heard: &mut Heard) {
        self.renew(heard);
        let count = heard.table.count();
        self.core.metrics.peers(count);
        self.alive.send_replace(count);
    }

    /// Tells the router all that is known, whatever it was told before.
    fn renew(&self, heard: &mut Heard) {
        heard.renewed = Instant::now();
        let table = &heard.table;
        let told = (0..).zip(self.workers()).flat_map(|(place, (name, worker))| {
            [Event::Placed { worker, place }, Event::Elsewhere { worker, load: table.load(&name) }]
        });
        self.core.hear([Event::Shared { part: table.part() }].into_iter().chain(told));
    }

    /// The workers in the order of their names, in which every gateway has them.
    fn workers(&self) -> Vec<(Arc<str>, WorkerId)> {
        let workers = self.fleet.workers();
        let staying = workers.iter().filter(|worker| !worker.leaving());
        let mut named: Vec<_> = staying.map(|worker| (Arc::clone(&worker.name), worker.id)).collect();
        named.sort_unstable();
        named
    }
}

/// What a line says of requests.
fn words(gateway: u64, frame: &Frame, workers: &HashMap<&str, WorkerId>) -> impl Iterator<Item = Event> {
    let request = move |number: &u64| Distant { gateway, booking: BookingId(*number) };
    let unheard = (frame.lost > 0).then_some(Event::Unheard { gateway });
    let sent = frame.sent.iter().filter_map(move |sent| {
        let worker = *workers.get(&*sent.worker)?;
        Some(Event::Sent { request: request(&sent.request), worker, prompt: sent.prompt() })
    });
    let read = frame.read.iter().map(move |number| Event::Read { request: request(number) });
    let ended = frame.ended.iter().map(move |(number, prompt, answer)| {
        let usage = Usage { prompt: Tokens(*prompt), cached: None, output: Tokens(*answer) };
        Event::Ended { request: request(number), usage: (*prompt > 0).then_some(usage) }
    });
    unheard.into_iter().chain(sent).chain(read).chain(ended)
}

/// Another gateway is heard; dropping this withdraws what it told.
struct Entered<'a> {
    peers: &'a Peers,
    gateway: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut heard = self.peers.table.lock();
        heard.table.leave(self.gateway);
        self.peers.changed(&mut heard);
        self.peers.core.hear([Event::Unheard { gateway: self.gateway }]);
    }
}
