//! The pool against a naive model that stores whole prefixes and searches all of them, after every random operation.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const CAPACITY: usize = 9;
const ROOT: BlockHash = BlockHash(77);

/// One cached block in the model, known by everything up to and including it.
#[derive(Clone, Debug)]
struct NaiveBlock {
    prefix: Vec<u8>,
    pins: usize,
    /// When its last holder let it go.
    let_go: u64,
    /// Tells it from another of the same prefix, and that before it likewise.
    copy: u64,
    behind: Option<u64>,
}

/// A request in both worlds: the model's half knows its prompt, and how many blocks are shared, named and held.
#[derive(Debug)]
struct Running {
    lease: Lease,
    prompt: Vec<u8>,
    shared: usize,
    named: usize,
    generation: u64,
}

/// Both worlds, and the tensors a worker would keep: what was computed into each slot.
struct World {
    pool: BlockPool<u8>,
    events: KvEvents,
    mirror: BTreeMap<BlockHash, BlockHash>,
    naive: BTreeMap<BlockHash, NaiveBlock>,
    /// Blocks that a clear took from the index while somebody held them.
    orphans: Vec<NaiveBlock>,
    /// Blocks that are whole and not to be found, with their marks.
    withdrawn: Vec<(NaiveBlock, u64)>,
    mark: u64,
    copies: u64,
    running: Vec<Running>,
    tensors: Vec<Vec<u8>>,
    generation: u64,
    now: u64,
    names: u64,
}

#[derive(Clone, Debug)]
enum Operation {
    /// A prompt, and how many marks ago it was sent.
    Begin(Vec<u8>, u64),
    Withdraw(usize),
    Grow(usize, usize),
    Seal(usize),
    Truncate(usize, usize),
    Release(usize),
    Clear,
}

fn operation() -> impl Strategy<Value = Operation> {
    let prompt = proptest::collection::vec(0_u8..3, 1..7);
    prop_oneof![
        20 => (prompt, 0_u64..4).prop_map(|(prompt, ago)| Operation::Begin(prompt, ago)),
        8 => (0_usize..6).prop_map(Operation::Withdraw),
        20 => (any::<usize>(), 1_usize..4).prop_map(|(who, blocks)| Operation::Grow(who, blocks)),
        40 => any::<usize>().prop_map(Operation::Seal),
        3 => (any::<usize>(), 0_usize..6).prop_map(|(who, blocks)| Operation::Truncate(who, blocks)),
        16 => any::<usize>().prop_map(Operation::Release),
        1 => Just(Operation::Clear),
    ]
}

impl World {
    /// `names` is how many different hashes there are: few make collisions common.
    fn new(names: u64) -> Self {
        Self {
            pool: BlockPool::new(Blocks::of(CAPACITY)),
            events: Vec::new(),
            mirror: BTreeMap::new(),
            naive: BTreeMap::new(),
            orphans: Vec::new(),
            withdrawn: Vec::new(),
            mark: 0,
            copies: 0,
            running: Vec::new(),
            tensors: vec![Vec::new(); CAPACITY],
            generation: 0,
            now: 0,
            names,
        }
    }

    fn name(&self, prefix: &[u8]) -> BlockHash {
        let chained = prefix.iter().fold(ROOT, |parent, token| parent.next_text(&[*token]));
        BlockHash(chained.0 % self.names)
    }

    fn chain(&self, prompt: &[u8]) -> Vec<BlockHash> {
        (1..=prompt.len()).map(|end| self.name(&prompt[..end])).collect()
    }

    fn naive_prefix(&self, prompt: &[u8]) -> usize {
        let held = |end: &usize| {
            self.naive.get(&self.name(&prompt[..*end])).is_some_and(|b| b.prefix == prompt[..*end])
        };
        (1..=prompt.len()).take_while(held).count()
    }

    fn act(&mut self, operation: Operation) {
        let who = |index: usize, running: &[Running]| index.checked_rem(running.len());
        match operation {
            Operation::Begin(prompt, ago) => self.begin(prompt, ago),
            Operation::Withdraw(blocks) => self.withdraw(blocks),
            Operation::Clear => self.clear(),
            Operation::Grow(index, blocks) => _ = who(index, &self.running).map(|i| self.grow(i, blocks)),
            Operation::Seal(index) => _ = who(index, &self.running).map(|i| self.seal(i)),
            Operation::Truncate(index, blocks) => {
                _ = who(index, &self.running).map(|i| self.truncate(i, blocks))
            }
            Operation::Release(index) => {
                if let Some(i) = who(index, &self.running) {
                    self.let_go(i, 0);
                    self.pool.release(self.running.swap_remove(i).lease);
                }
            }
        }
        self.listen();
    }

    fn begin(&mut self, prompt: Vec<u8>, ago: u64) {
        let found = self.naive_prefix(&prompt);
        let chain = self.chain(&prompt);
        let blocks = || chain.iter().copied().zip(&prompt);
        assert_eq!(self.pool.longest_prefix(blocks()), found, "longest prefix of {prompt:?}");
        let mut lease = self.pool.begin(ROOT, blocks());
        assert_eq!(lease.len(), found, "a lease begins with the longest prefix");
        for hash in &chain[..found] {
            self.naive.get_mut(hash).unwrap().pins += 1;
        }
        let since = self.mark.saturating_sub(ago);
        let restored = self.restore(&prompt, found, since);
        self.pool.restore(&mut lease, blocks().skip(found), since, &mut self.events);
        assert_eq!(lease.len(), restored, "what was withdrawn since is there again");
        self.running.push(Running {
            lease,
            prompt,
            shared: restored,
            named: restored,
            generation: self.generation,
        });
    }

    /// The model's half of having back what was withdrawn behind the first `found` blocks; returns how many there are then.
    fn restore(&mut self, prompt: &[u8], found: usize, since: u64) -> usize {
        for end in found + 1..=prompt.len() {
            let before = (end > 1).then(|| self.naive[&self.name(&prompt[..end - 1])].copy);
            let wanted = |(block, mark): &(NaiveBlock, u64)| {
                *mark >= since && block.prefix == prompt[..end] && block.behind == before
            };
            let place = self.withdrawn.iter().position(wanted);
            let name = self.name(&prompt[..end]);
            let Some(place) = place.filter(|_| !self.naive.contains_key(&name)) else { return end - 1 };
            let (block, _) = self.withdrawn.remove(place);
            self.naive.insert(name, NaiveBlock { pins: 1, ..block });
        }
        prompt.len()
    }

    fn withdraw(&mut self, blocks: usize) {
        self.mark += 1;
        assert_eq!(self.pool.ready(u64::MAX), CAPACITY - self.taken(), "room without evictions");
        self.pool.withdraw(blocks, self.mark, &mut self.events);
        while self.taken() + blocks > CAPACITY {
            let Some(oldest) = self.oldest_leaf() else { break };
            let gone = self.naive.remove(&oldest).unwrap();
            self.withdrawn.push((gone, self.mark));
        }
        let fresh = self.withdrawn.iter().filter(|(_, mark)| *mark == self.mark).count();
        assert_eq!(self.pool.ready(self.mark), CAPACITY - self.taken() - fresh, "room but for the last");
    }

    /// Blocks that are found, held or being filled.
    fn taken(&self) -> usize {
        let private: usize = self.running.iter().map(|one| one.lease.len() - one.shared).sum();
        self.naive.len() + self.orphans.len() + private
    }

    /// Of the blocks that nobody holds and that none stands behind, the one let go first.
    fn oldest_leaf(&self) -> Option<BlockHash> {
        let leads = |block: &NaiveBlock, other: &NaiveBlock| {
            other.prefix.len() == block.prefix.len() + 1 && other.prefix.starts_with(&block.prefix)
        };
        let is_leaf = |block: &NaiveBlock| !self.naive.values().any(|other| leads(block, other));
        let idle = self.naive.iter().filter(|(_, block)| block.pins == 0 && is_leaf(block));
        idle.min_by_key(|(_, block)| block.let_go).map(|(name, _)| *name)
    }

    fn grow(&mut self, index: usize, blocks: usize) {
        let held: usize = self.naive.values().filter(|b| b.pins > 0).count() + self.orphans.len();
        let private: usize = self.running.iter().map(|r| r.lease.len() - r.shared).sum();
        let room = CAPACITY - held - private;
        assert_eq!(self.pool.available().get(), room, "what leases could still get");
        let result = self.pool.grow(&mut self.running[index].lease, blocks, &mut self.events);
        assert_eq!(result.is_ok(), blocks <= room, "growing by {blocks} with room for {room}");
        if result.is_err() {
            return;
        }
        while self.naive.len() + self.orphans.len() + private + blocks > CAPACITY {
            let oldest = self.oldest_leaf().expect("there was room");
            self.naive.remove(&oldest);
        }
        let left = CAPACITY - (self.naive.len() + self.orphans.len() + private + blocks);
        self.withdrawn.drain(..self.withdrawn.len().saturating_sub(left));
        for slot in self.running[index].lease.slots().iter().rev().take(blocks) {
            self.tensors[slot.index()] = vec![u8::MAX; 50];
        }
    }

    fn seal(&mut self, index: usize) {
        let place = self.running[index].named;
        let fits = place < self.running[index].lease.len() && place < self.running[index].prompt.len();
        if !fits {
            return;
        }
        let prefix = self.running[index].prompt[..=place].to_vec();
        let hash = self.name(&prefix);
        let one = &mut self.running[index];
        self.tensors[one.lease.slots()[place].index()] = prefix.clone();
        self.pool.seal(&mut one.lease, hash, prefix[place], &mut self.events);
        one.named += 1;
        if one.shared < place || one.generation != self.generation {
            return;
        }
        let behind = (place > 0).then(|| self.naive[&self.name(&prefix[..place])].copy);
        self.copies += 1;
        let new = NaiveBlock { prefix: prefix.clone(), pins: 0, let_go: 0, copy: self.copies, behind };
        let block = self.naive.entry(hash).or_insert(new);
        if block.prefix == prefix {
            block.pins += 1;
            self.running[index].shared += 1;
        }
    }

    fn truncate(&mut self, index: usize, blocks: usize) {
        self.let_go(index, blocks);
        self.pool.truncate(&mut self.running[index].lease, blocks);
    }

    /// The model's half of giving up all blocks but the first `blocks`.
    fn let_go(&mut self, index: usize, blocks: usize) {
        let one = &mut self.running[index];
        for place in (blocks..one.shared).rev() {
            self.now += 1;
            let prefix = &one.prompt[..=place];
            let current =
                self.naive.values_mut().find(|b| b.prefix == *prefix && one.generation == self.generation);
            if let Some(block) = current {
                block.pins -= 1;
                block.let_go = self.now;
                continue;
            }
            let orphan =
                self.orphans.iter_mut().position(|b| b.prefix == *prefix && b.let_go == one.generation);
            let orphan = orphan.expect("a held block is either current or an orphan");
            self.orphans[orphan].pins -= 1;
            if self.orphans[orphan].pins == 0 {
                self.orphans.swap_remove(orphan);
            }
        }
        one.shared = one.shared.min(blocks);
        one.named = one.named.min(blocks);
    }

    fn clear(&mut self) {
        self.pool.clear(&mut self.events);
        self.withdrawn.clear();
        let generation = self.generation;
        let held = std::mem::take(&mut self.naive).into_values().filter(|b| b.pins > 0);
        self.orphans.extend(held.map(|b| NaiveBlock { let_go: generation, ..b }));
        self.generation += 1;
    }

    /// Applies the events to a mirror, as the gateway's index would.
    fn listen(&mut self) {
        for event in self.events.drain(..) {
            match event {
                KvEvent::Stored { mut parent, blocks } => {
                    for block in blocks {
                        assert!(
                            parent == ROOT || self.mirror.contains_key(&parent),
                            "stored after an unknown parent"
                        );
                        assert!(self.mirror.insert(block, parent).is_none(), "stored twice");
                        parent = block;
                    }
                }
                KvEvent::Removed { blocks } => {
                    for block in blocks {
                        assert!(self.mirror.remove(&block).is_some(), "removed what was not there");
                    }
                }
                KvEvent::Cleared => self.mirror.clear(),
            }
        }
    }

    fn check(&self) {
        assert!(self.mirror.keys().eq(self.naive.keys()), "events tell exactly what is cached");
        assert_eq!(self.pool.resident().get(), self.naive.len());
        assert!(self.pool.entries.len() <= CAPACITY, "the bound is hard");
        for one in &self.running {
            for place in 0..one.named {
                let slot = one.lease.slots()[place].index();
                assert_eq!(
                    self.tensors[slot],
                    one.prompt[..=place],
                    "somebody wrote over a block that is held"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // 200 cases of 500 operations each: 100,000 with every invariant checked after each.
    #[test]
    fn it_agrees_with_the_naive_model(operations in proptest::collection::vec(operation(), 500)) {
        let mut world = World::new(u64::MAX);
        for operation in operations {
            world.act(operation);
            world.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn colliding_hashes_cost_hits_but_never_answers(operations in proptest::collection::vec(operation(), 300)) {
        let mut world = World::new(5);
        for operation in operations {
            world.act(operation);
            // The mirror's parents are ambiguous under collisions; contents, counts and bounds are not.
            world.mirror = world.naive.keys().map(|hash| (*hash, ROOT)).collect();
            world.check();
        }
    }

    #[test]
    fn every_block_is_given_back(operations in proptest::collection::vec(operation(), 300)) {
        let mut world = World::new(u64::MAX);
        for operation in operations {
            world.act(operation);
        }
        while !world.running.is_empty() {
            world.act(Operation::Release(0));
        }
        prop_assert_eq!(world.pool.available(), Blocks::of(CAPACITY));
    }

    /// Whoever else holds what.
    #[test]
    fn to_touch_is_to_hold_a_lease_for_a_moment(
        prompts in proptest::collection::vec((proptest::collection::vec(0_u8..3, 1..12), 0_usize..9), 1..80),
    ) {
        let mut pools = [BlockPool::new(Blocks(20)), BlockPool::new(Blocks(20))];
        let mut told = [Vec::new(), Vec::new()];
        let mut held: [Option<Lease>; 2] = [None, None];
        for (prompt, held_blocks) in prompts {
            let chain: Vec<_> = crate::text_chain(ROOT, &prompt, 1).collect();
            let blocks = || chain.iter().map(|hash| (*hash, &()));
            for ((pool, events), held) in pools.iter_mut().zip(&mut told).zip(&mut held) {
                held.take().into_iter().for_each(|lease| pool.release(lease));
                if held_blocks < 4 {
                    *held = Some(pool.begin(ROOT, blocks().take(held_blocks)));
                }
                if held_blocks == 8 {
                    pool.clear(events);
                }
            }
            let [touched, leased] = &mut pools;
            let found = touched.touch(ROOT, &chain, &mut told[0]);
            let mut lease = leased.begin(ROOT, blocks());
            prop_assert_eq!(lease.len(), found);
            let room = (chain.len() - found).min(leased.available().get());
            leased.grow(&mut lease, room, &mut told[1]).unwrap();
            for hash in &chain[found..found + room] {
                leased.seal(&mut lease, *hash, (), &mut told[1]);
            }
            leased.release(lease);
            prop_assert_eq!(&told[0], &told[1]);
        }
    }

    /// Requests that stay, with answers behind their prompts, several at once.
    #[test]
    fn to_hold_is_to_lease_what_takes_no_computing(
        prompts in proptest::collection::vec((proptest::collection::vec(0_u8..3, 1..12), 0_usize..6, 0_usize..9), 1..80),
    ) {
        let mut pools = [BlockPool::new(Blocks(20)), BlockPool::new(Blocks(20))];
        let mut told = [Vec::new(), Vec::new()];
        let mut running: Vec<[Lease; 2]> = Vec::new();
        for (number, (prompt, answer, what)) in prompts.into_iter().enumerate() {
            let chain: Vec<_> = crate::text_chain(ROOT, &prompt, 1).collect();
            let answer: Vec<_> = crate::text_chain(BlockHash(number as u64), &vec![9; answer], 1).collect();
            let [held, leased] = &mut pools;
            if what == 8 {
                held.clear(&mut told[0]);
                leased.clear(&mut told[1]);
            }
            let (mut one, _) = held.hold(ROOT, &chain, &mut told[0]);
            let mut other = leased.begin(ROOT, chain.iter().map(|hash| (*hash, &())));
            let missing = chain[other.len()..].to_vec();
            grow_and_seal(leased, &mut other, &missing, &mut told[1]);
            if one.len() == chain.len() {
                held.lengthen(&mut one, &answer, &mut told[0]);
                grow_and_seal(leased, &mut other, &answer, &mut told[1]);
            }
            prop_assert_eq!(one.slots(), other.slots());
            running.push([one, other]);
            if what < 6 {
                let [one, other] = running.swap_remove(what % running.len());
                held.release(one);
                leased.release(other);
            }
            prop_assert_eq!(&told[0], &told[1]);
            prop_assert_eq!(held.available(), leased.available());
        }
    }

    #[test]
    fn a_shadow_never_outgrows_its_bound(
        prompts in proptest::collection::vec((proptest::collection::vec(0_u8..3, 1..12), 0_u32..20), 1..60),
    ) {
        let mut shadow = BlockPool::new(Blocks(8));
        let mut events = Vec::new();
        for (prompt, capacity) in prompts {
            shadow.resize(Blocks(capacity), &mut events);
            let chain: Vec<_> = crate::text_chain(ROOT, &prompt, 1).collect();
            let known = shadow.longest_prefix(chain.iter().map(|hash| (*hash, &())));
            prop_assert_eq!(shadow.touch(ROOT, &chain, &mut events), known);
            prop_assert!(shadow.resident() <= shadow.capacity());
            let after = shadow.longest_prefix(chain.iter().map(|hash| (*hash, &())));
            prop_assert_eq!(after, chain.len().min(shadow.capacity().get()));
        }
    }
}

/// Adds as many of `blocks` as there is room for, one as if computed after the other.
fn grow_and_seal(pool: &mut BlockPool, lease: &mut Lease, blocks: &[BlockHash], events: &mut KvEvents) {
    let room = blocks.len().min(pool.available().get());
    pool.grow(lease, room, events).unwrap();
    for hash in &blocks[..room] {
        pool.seal(lease, *hash, (), events);
    }
}

#[test]
fn a_block_of_two_requests_is_shared_when_the_second_seals_it() {
    let mut pool = BlockPool::new(Blocks(4));
    let mut events = Vec::new();
    let hash = ROOT.next_text(b"a");
    let (mut one, mut other) = (pool.begin(ROOT, []), pool.begin(ROOT, []));
    pool.grow(&mut one, 1, &mut events).unwrap();
    pool.grow(&mut other, 1, &mut events).unwrap();
    let first = pool.seal(&mut one, hash, 'a', &mut events);
    let second = pool.seal(&mut other, hash, 'a', &mut events);
    assert_eq!(first, second, "both read one copy");
    assert_eq!(pool.available(), Blocks(3), "and the other copy is free again");
    assert_eq!(events, [KvEvent::Stored { parent: ROOT, blocks: vec![hash] }], "told once");
    pool.release(one);
    pool.release(other);
}

#[test]
fn the_least_recently_used_leaf_goes_first() {
    let mut pool = BlockPool::new(Blocks(5));
    let mut events = Vec::new();
    let chain = |text: &[u8]| crate::text_chain(ROOT, text, 1).collect::<Vec<_>>();
    pool.touch(ROOT, &chain(b"ab"), &mut events);
    pool.touch(ROOT, &chain(b"xyz"), &mut events);
    events.clear();
    pool.touch(ROOT, &chain(b"ab"), &mut events);
    pool.touch(ROOT, &chain(b"q"), &mut events);
    let z = chain(b"xyz")[2];
    let stored = KvEvent::Stored { parent: ROOT, blocks: chain(b"q") };
    assert_eq!(
        events,
        [KvEvent::Removed { blocks: vec![z] }, stored],
        "z was used before a and b, and nothing follows it"
    );
}
