//! The publishers that are followed, and the index of each group of caches that can be compared.
//!
//! Each publisher is three workers of its group's index: what it holds in its accelerator's memory, what it holds there or in its host's,
//! and what it holds at all. So every answer by tier is the length of one unbroken prefix. Until an engine tells of a second tier, the last
//! of the three stands for all.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::task::JoinSet;
use warmroute_kv::wire::{Naming, Tier};
use warmroute_kv::{KvEvents, Namespace, Tokens, token_chain};
use warmroute_routing::{Index, Leading, WorkerId};

use super::answer::{Matched, Matches};
use super::form::{GroupName, InstanceId, Question, Registration, Unregistration};
use crate::config::{KvEndpoint, KvSource};
use crate::sources::kv_events::{Account, Aside, Statement, Word, follow};

/// Publishers followed at most: each costs a task and a socket, and every answer has a line for each.
const MOST_PUBLISHERS: usize = 4096;
/// From near to far; each counts what the nearer ones have too.
pub(super) const TIERS: [Tier; 3] = [Tier::Device, Tier::Host, Tier::Disk];

/// An instance and its data-parallel rank.
pub(super) type Place = (InstanceId, u32);

/// Everything that is registered.
#[derive(Default)]
pub(super) struct Registry {
    groups: Mutex<BTreeMap<GroupName, Group>>,
    /// Numbers for the index; none is given twice.
    next: AtomicU32,
}

/// Caches that can be compared.
struct Group {
    block: Tokens,
    index: Arc<Mutex<Index>>,
    publishers: BTreeMap<Place, Followed>,
}

/// One publisher.
struct Followed {
    /// By tier, where its tiers differ.
    workers: [WorkerId; TIERS.len()],
    account: Arc<Account>,
    endpoint: KvEndpoint,
    /// Ends when it is dropped.
    _task: JoinSet<()>,
}

/// Why a publisher is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unregistrable {
    /// It is followed already.
    #[error(
        "instance {instance} has a publisher of rank {rank} already, {endpoint}; hint: POST /unregister it first"
    )]
    Taken {
        /// Whose.
        instance: InstanceId,
        /// Which.
        rank: u32,
        /// Where it is.
        endpoint: KvEndpoint,
    },
    /// Blocks of two sizes cannot be compared.
    #[error(
        "blocks of {told} tokens cannot be compared with the {known} of this model and tenant; hint: start all engines with one block size, or give this one a tenant_id of its own"
    )]
    BlockSize {
        /// Its own.
        told: Tokens,
        /// The others'.
        known: Tokens,
    },
    /// Engines do not publish it, so nothing could be found.
    #[error("additional_salt is not supported; hint: keep such caches apart with tenant_id")]
    Salted,
    /// There are too many.
    #[error("{MOST_PUBLISHERS} publishers are followed already; hint: POST /unregister those that have gone")]
    TooMany,
}

/// Nothing of that kind is registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not registered; hint: GET /workers lists what is")]
pub(super) struct Unknown {
    what: String,
}

/// Whom a question is about.
struct Asked {
    index: Arc<Mutex<Index>>,
    block: Tokens,
    publishers: Vec<(Place, [WorkerId; TIERS.len()], Arc<Account>)>,
}

/// A publisher as `GET /workers` shows it.
pub(super) struct Listed {
    pub group: GroupName,
    pub block: Tokens,
    pub place: Place,
    pub endpoint: KvEndpoint,
    pub statement: Statement,
}

impl Registry {
    /// Follows a publisher from now on.
    pub(super) fn register(&self, publisher: Registration) -> Result<(), Unregistrable> {
        if publisher.additional_salt.as_ref().is_some_and(|salt| !salt.is_empty()) {
            return Err(Unregistrable::Salted);
        }
        let mut groups = self.groups.lock();
        if groups.values().map(|group| group.publishers.len()).sum::<usize>() >= MOST_PUBLISHERS {
            return Err(Unregistrable::TooMany);
        }
        let group = groups.entry(publisher.group.clone()).or_insert_with(|| Group::new(publisher.block_size));
        if group.block != publisher.block_size {
            return Err(Unregistrable::BlockSize { told: publisher.block_size, known: group.block });
        }
        let place = (publisher.instance_id.clone(), publisher.dp_rank);
        match group.publishers.entry(place) {
            Entry::Occupied(taken) => Err(Unregistrable::Taken {
                instance: publisher.instance_id,
                rank: publisher.dp_rank,
                endpoint: taken.get().endpoint.clone(),
            }),
            Entry::Vacant(vacant) => {
                let first = self.next.fetch_add(TIERS.len() as u32, Ordering::Relaxed);
                vacant.insert(Followed::begin(first, publisher, &group.index));
                Ok(())
            }
        }
    }

    /// Follows them no more, and forgets what they told. Returns whom.
    pub(super) fn unregister(&self, gone: &Unregistration) -> Result<Vec<Place>, Unknown> {
        let mut groups = self.groups.lock();
        let unknown =
            || Unknown { what: format!("instance {} of model {}", gone.instance_id, gone.group.model) };
        let group = groups.get_mut(&gone.group).ok_or_else(unknown)?;
        let is_meant = |(instance, rank): &Place| {
            *instance == gone.instance_id && gone.dp_rank.is_none_or(|meant| meant == *rank)
        };
        let meant: Vec<Place> = group.publishers.keys().filter(|place| is_meant(place)).cloned().collect();
        for place in &meant {
            group.forget(place);
        }
        if group.publishers.is_empty() {
            groups.remove(&gone.group);
        }
        if meant.is_empty() { Err(unknown()) } else { Ok(meant) }
    }

    /// Follows nobody any more.
    pub(super) fn clear(&self) {
        self.groups.lock().clear();
    }

    /// How much of a prompt each publisher holds.
    pub(super) fn query(&self, question: &Question) -> Result<Matches, Unknown> {
        let Asked { index, block, publishers } = self.asked(question)?;
        let Question { group, lora_name, cache_salt, token_ids, .. } = question;
        let namespace = Namespace {
            model: &group.model,
            lora: lora_name.as_deref(),
            salt: cache_salt.as_deref(),
            tools: None,
        };
        let chain: Vec<_> = token_chain(namespace.root(), token_ids, block.get()).collect();
        let mut leading = Leading::default();
        let index = index.lock();
        index.leading(&chain, &mut leading);
        let matched = publishers.into_iter().map(|(place, workers, account)| {
            // With the index locked: what is told of a second tier comes into it after this has turned.
            let [.., own] = workers;
            let workers = if account.tiers_differ() { workers } else { [own; TIERS.len()] };
            Matched {
                place,
                blocks: workers.map(|worker| leading.depth_of(worker) as u32),
                holds: index.held_by(workers[0]),
            }
        });
        Ok(Matches { block, deepest: leading.deepest(), publishers: matched.collect() })
    }

    /// Whom a question is about.
    fn asked(&self, question: &Question) -> Result<Asked, Unknown> {
        let groups = self.groups.lock();
        let GroupName { model, tenant } = &question.group;
        let unknown = || Unknown { what: format!("model {model} of tenant {tenant}") };
        let group = groups.get(&question.group).ok_or_else(unknown)?;
        if let Some(told) = question.block_size.filter(|told| Tokens(*told) != group.block) {
            return Err(Unknown {
                what: format!("model {model} with blocks of {told} tokens, and not {},", group.block),
            });
        }
        let is_asked =
            |(instance, _): &Place| question.instance_id.as_ref().is_none_or(|asked| asked == instance);
        let asked = group.publishers.iter().filter(|(place, _)| is_asked(place));
        let asked =
            asked.map(|(place, followed)| (place.clone(), followed.workers, Arc::clone(&followed.account)));
        let asked = asked.collect();
        Ok(Asked { index: Arc::clone(&group.index), block: group.block, publishers: asked })
    }

    /// Everybody that is followed.
    pub(super) fn list(&self) -> Vec<Listed> {
        let groups = self.groups.lock();
        let publishers = groups.iter().flat_map(|(name, group)| {
            group.publishers.iter().map(move |(place, followed)| Listed {
                group: name.clone(),
                block: group.block,
                place: place.clone(),
                endpoint: followed.endpoint.clone(),
                statement: followed.account.statement(),
            })
        });
        publishers.collect()
    }
}

impl Group {
    fn new(block: Tokens) -> Self {
        Self { block, index: Arc::default(), publishers: BTreeMap::new() }
    }

    fn forget(&mut self, place: &Place) {
        let Some(followed) = self.publishers.remove(place) else { return };
        let mut index = self.index.lock();
        followed.workers.iter().for_each(|worker| index.forget(*worker));
    }
}

impl Followed {
    fn begin(first: u32, publisher: Registration, index: &Arc<Mutex<Index>>) -> Self {
        let workers = [0, 1, 2].map(|tier| WorkerId(first + tier));
        let told_to = |worker: WorkerId| {
            let index = Arc::downgrade(index);
            move |events: KvEvents| {
                let Some(index) = index.upgrade() else { return };
                let mut index = index.lock();
                events.iter().for_each(|event| index.apply(worker, event));
            }
        };
        let aside = |worker| -> Aside { Box::new(told_to(worker)) };
        let naming = Naming::new(publisher.group.model, publisher.block_size);
        let [device, host, own] = workers;
        let all = told_to(own);
        let speak = Box::new(move |word| match word {
            Word::Begin((held, _)) => all(held),
            Word::Changes((changes, _)) => all(changes),
            // It speaks for as long as it is followed.
            Word::End => {}
        });
        let account =
            Account::new(naming, 1, speak).apart(Tier::Device, aside(device)).apart(Tier::Host, aside(host));
        account.speak(true);
        let account = Arc::new(account);
        let source = KvSource {
            events: publisher.endpoint.clone(),
            replay: publisher.replay_endpoint,
            topic: String::new(),
        };
        let followed = Arc::clone(&account);
        let mut task = JoinSet::new();
        task.spawn(async move { follow(&followed, &[source]).await });
        Self { workers, account, endpoint: publisher.endpoint, _task: task }
    }
}
