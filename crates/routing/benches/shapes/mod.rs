//! The loads on which block indexes are compared: sequences that share prefixes by group, spread over a fleet.

use std::collections::HashMap;

use warmroute_kv::BlockHash;

/// Where every chain of these loads begins.
pub(crate) const ROOT: BlockHash = BlockHash(20_26);

/// A fleet's caches in a few numbers.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) sequences: u64,
    /// Blocks of one sequence.
    pub(crate) blocks: u64,
    /// How many of them all sequences of a group have in common.
    pub(crate) shared: u64,
    pub(crate) groups: u64,
    pub(crate) workers: u64,
    pub(crate) queries: u64,
}

/// As many queries as stay in the last-level cache with the index: a router has just computed the chain it asks for.
pub(crate) const SHAPES: [Shape; 2] = [
    Shape {
        name: "10,000 x 64 x 8",
        sequences: 10_000,
        blocks: 64,
        shared: 16,
        groups: 100,
        workers: 8,
        queries: 10_000,
    },
    Shape {
        name: "2,000 x 512 x 64",
        sequences: 2_000,
        blocks: 512,
        shared: 256,
        groups: 50,
        workers: 64,
        queries: 2_000,
    },
];

/// Consecutive blocks on one worker; a prompt from its beginning, unless they were removed leaves first.
pub(crate) struct Sequence {
    pub(crate) worker: u32,
    pub(crate) blocks: Vec<BlockHash>,
}

/// What is told and asked.
pub(crate) struct Load {
    pub(crate) name: String,
    pub(crate) stores: Vec<Sequence>,
    pub(crate) queries: Vec<Vec<BlockHash>>,
}

impl Shape {
    pub(crate) fn load(&self) -> Load {
        let store = |number: u64| {
            let group = pick("group", number, self.groups);
            let worker = pick("worker", number, self.workers) as u32;
            let shared = chain(ROOT, group << 32, self.shared);
            let own = chain(shared[shared.len() - 1], number, self.blocks - self.shared);
            Sequence { worker, blocks: [shared, own].concat() }
        };
        let stores: Vec<_> = (0..self.sequences).map(store).collect();
        let queries = queries(&stores, self.queries, |_| self.shared as usize);
        Load { name: self.name.into(), stores, queries }
    }
}

impl Load {
    /// Blocks told by all store events, repeated ones included.
    pub(crate) fn told(&self) -> usize {
        self.stores.iter().map(|store| store.blocks.len()).sum()
    }

    /// Everything leaves again, sequence by sequence, tail first. A block goes with the last sequence that has it.
    pub(crate) fn removals(&self) -> Vec<Sequence> {
        let mut users: HashMap<(u32, BlockHash), u32> = HashMap::new();
        let blocks =
            |one: &Sequence| one.blocks.iter().rev().map(|block| (one.worker, *block)).collect::<Vec<_>>();
        self.stores.iter().flat_map(blocks).for_each(|block| *users.entry(block).or_default() += 1);
        let removal = |store: &Sequence| {
            let mut blocks = blocks(store);
            blocks.retain(|block| {
                let left = users.get_mut(block).expect("every stored block was counted");
                *left -= 1;
                *left == 0
            });
            Sequence { worker: store.worker, blocks: blocks.into_iter().map(|(_, block)| block).collect() }
        };
        self.stores.iter().map(removal).filter(|one| !one.blocks.is_empty()).collect()
    }
}

/// The first `count` queries.
pub(crate) fn queries(
    stores: &[Sequence],
    count: u64,
    shared: impl Fn(&Sequence) -> usize,
) -> Vec<Vec<BlockHash>> {
    (0..count).map(|number| query(stores, number, &shared)).collect()
}

/// Half of all queries ask for a stored sequence, a quarter for the first `shared` blocks of one and then something new,
/// and a quarter for nothing that is stored.
pub(crate) fn query(stores: &[Sequence], number: u64, shared: impl Fn(&Sequence) -> usize) -> Vec<BlockHash> {
    let store = &stores[pick("query", number, stores.len() as u64) as usize];
    let hit = match pick("kind", number, 4) {
        0 => shared(store),
        1 => 0,
        _ => store.blocks.len(),
    };
    let mut blocks = store.blocks[..hit].to_vec();
    let parent = blocks.last().copied().unwrap_or(ROOT);
    blocks.extend(chain(parent, number | 1 << 60, (store.blocks.len() - hit) as u64));
    blocks
}

/// `count` blocks behind `parent` that only `seed` has.
pub(crate) fn chain(parent: BlockHash, seed: u64, count: u64) -> Vec<BlockHash> {
    let blocks = std::iter::successors(Some(parent), |parent| Some(parent.next_text(&seed.to_le_bytes())));
    blocks.skip(1).take(count as usize).collect()
}

/// One of `0..below`, by chance that is the same in every run.
pub(crate) fn pick(what: &str, number: u64, below: u64) -> u64 {
    BlockHash(number).next_text(what.as_bytes()).0 % below
}
