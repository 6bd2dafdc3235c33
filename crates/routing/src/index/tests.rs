//! The index against one plain set per worker, and what must hold within it whatever it is told.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::coverage::RUN_BLOCKS_MAX;
use super::*;

const ROOT: BlockHash = BlockHash(7);

impl Index {
    /// Fails with a sentence if anything that must always hold does not.
    fn assert_invariants(&self) {
        let (table, runs) = (&self.coverage.table, &self.coverage.runs);
        let mut held = vec![0; self.workers.slots()];
        let mut blocks = 0;
        for (id, run) in runs.iter() {
            assert!(!run.holders.is_empty(), "{id:?} has no holders");
            assert!(run.len() <= RUN_BLOCKS_MAX, "{id:?} is too long: {}", run.len());
            for block in run.blocks.as_slice() {
                assert_eq!(
                    self.coverage.find(*block).map(|(run, _)| run),
                    Some(id),
                    "the table and the runs disagree on {block:?}"
                );
            }
            for slot in (0..held.len()).filter(|slot| run.holders.contains(Slot(*slot as u32))) {
                held[slot] += run.len() as u32;
            }
            assert_eq!(run.holders, run.holders.with_one_form(), "{id:?} has its holders in another form");
            assert_eq!(
                runs.entered(run.blocks.as_slice()),
                Some((id, run.len())),
                "{id:?} is not found by its head"
            );
            blocks += run.len();
        }
        assert_eq!(table.len(), blocks, "the table counts its blocks");
        assert_eq!(table.numbers().count(), blocks, "the table has blocks that no run has");
        assert!(
            table.numbers().all(|run| runs.get(RunId(run)).is_some()),
            "the table names a run that is not there"
        );
        assert_eq!(runs.heads(), runs.iter().count(), "a head that no run has");
        assert_eq!(held, self.held, "held blocks are counted by worker");
        let exact: usize = runs.iter().map(|(_, run)| run.blocks.bytes() + run.holders.bytes()).sum();
        assert_eq!(runs.heap_bytes(), exact, "bytes are counted as they change");
    }

    /// Fails if two runs that know each other could be one. Nonsense may bring that about; it costs a step per lookup.
    fn assert_merged(&self) {
        self.assert_invariants();
        let runs = &self.coverage.runs;
        for (id, next) in runs.iter().filter_map(|(id, _)| Some((id, self.coverage.next_of(id)?))) {
            assert_ne!(runs[next].holders, runs[id].holders, "{id:?} and {next:?} should be one run");
        }
    }

    fn runs(&self) -> usize {
        self.coverage.runs.iter().count()
    }

    fn answer(&self, chain: &[BlockHash], leading: &mut Leading) -> Vec<(WorkerId, usize)> {
        self.leading(chain, leading);
        let found: Vec<_> = leading.iter().collect();
        assert!(found.is_sorted_by_key(|(_, depth)| std::cmp::Reverse(*depth)), "deepest first: {found:?}");
        assert_eq!(leading.deepest(), found.first().map_or(0, |(_, depth)| *depth));
        assert!(found.iter().all(|(worker, depth)| leading.depth_of(*worker) == *depth));
        found
    }
}

/// One plain set of blocks per worker.
#[derive(Default)]
struct Naive(BTreeMap<WorkerId, BTreeSet<BlockHash>>);

impl Naive {
    fn apply(&mut self, worker: WorkerId, event: &KvEvent) {
        let held = self.0.entry(worker).or_default();
        match event {
            KvEvent::Stored { blocks, .. } => held.extend(blocks),
            KvEvent::Removed { blocks } => blocks.iter().for_each(|block| _ = held.remove(block)),
            KvEvent::Cleared => held.clear(),
        }
    }

    fn answer(&self, chain: &[BlockHash]) -> Vec<(WorkerId, usize)> {
        let depth =
            |held: &BTreeSet<BlockHash>| chain.iter().take_while(|block| held.contains(block)).count();
        let depths = self.0.iter().map(|(worker, held)| (*worker, depth(held)));
        depths.filter(|(_, depth)| *depth > 0).collect()
    }

    fn assert_agrees(&self, index: &Index, chain: &[BlockHash], leading: &mut Leading) {
        let mut found = index.answer(chain, leading);
        found.sort_unstable();
        assert_eq!(found, self.answer(chain));
    }
}

/// Prompts of up to 40 blocks that share prefixes, as a tree: each goes on from some block of an earlier one.
fn prompts(shape: &[(prop::sample::Index, u8, u8)]) -> Vec<Vec<BlockHash>> {
    let mut prompts: Vec<Vec<BlockHash>> = vec![vec![]];
    for (number, (earlier, shared, own)) in (0_u64..).zip(shape) {
        let mut prompt = earlier.get(&prompts).clone();
        prompt.truncate(usize::from(*shared));
        for place in 0..u64::from(*own) {
            let parent = prompt.last().copied().unwrap_or(ROOT);
            prompt.push(parent.next_text(&[number.to_le_bytes(), place.to_le_bytes()].concat()));
        }
        prompts.push(prompt);
    }
    prompts
}

/// What a worker may tell of a prompt.
#[derive(Clone, Debug)]
enum Told {
    /// Its first blocks.
    Held(prop::sample::Index),
    /// A stretch of it; one that begins behind a block it does not hold is an orphan.
    Stored(prop::sample::Index, prop::sample::Index),
    /// The tail, leaves first.
    Evicted(prop::sample::Index),
    /// One block of it, or all but every third: holes.
    Hole(prop::sample::Index),
    Sieved,
    Cleared,
    Replaced,
}

fn told() -> impl Strategy<Value = Told> {
    let any = any::<prop::sample::Index>;
    prop_oneof![
        6 => any().prop_map(Told::Held),
        4 => (any(), any()).prop_map(|(from, to)| Told::Stored(from, to)),
        5 => any().prop_map(Told::Evicted),
        3 => any().prop_map(Told::Hole),
        1 => Just(Told::Sieved),
        1 => Just(Told::Cleared),
        1 => Just(Told::Replaced),
    ]
}

fn events(told: &Told, prompt: &[BlockHash]) -> Vec<KvEvent> {
    if prompt.is_empty() {
        return vec![];
    }
    let stored = |from: usize, to: usize| KvEvent::Stored {
        parent: if from == 0 { ROOT } else { prompt[from - 1] },
        blocks: prompt[from..to].to_vec(),
    };
    let removed = |blocks: Vec<BlockHash>| KvEvent::Removed { blocks };
    match told {
        Told::Held(to) => vec![stored(0, 1 + to.index(prompt.len()))],
        Told::Stored(from, to) => {
            let from = from.index(prompt.len());
            vec![stored(from, from + 1 + to.index(prompt.len() - from))]
        }
        Told::Evicted(from) => {
            let tail = prompt[from.index(prompt.len())..].iter().rev();
            if prompt.len().is_multiple_of(2) {
                vec![removed(tail.copied().collect())]
            } else {
                tail.map(|block| removed(vec![*block])).collect()
            }
        }
        Told::Hole(at) => vec![removed(vec![*at.get(prompt)])],
        Told::Sieved => vec![removed(prompt.iter().step_by(3).copied().collect())],
        Told::Cleared | Told::Replaced => vec![KvEvent::Cleared],
    }
}

/// Ids far apart, so that nothing may count on their being small.
fn worker(number: usize) -> WorkerId {
    WorkerId(u32::try_from(number).unwrap().wrapping_mul(0x0100_0001))
}

proptest! {
    #[test]
    fn it_agrees_with_one_plain_set_per_worker(
        shape in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..30, 1_u8..20), 1..12),
        workers in prop_oneof![1_usize..5, 60_usize..=130],
        told in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), told()), 0..120),
    ) {
        let prompts = prompts(&shape);
        let (mut index, mut naive, mut leading) = (Index::default(), Naive::default(), Leading::default());
        for (who, what, told) in told {
            let (who, prompt) = (worker(who.index(workers)), what.get(&prompts));
            for event in events(&told, prompt) {
                naive.apply(who, &event);
                if matches!(told, Told::Replaced) { index.forget(who) } else { index.apply(who, &event) }
                index.assert_merged();
            }
            naive.assert_agrees(&index, prompt, &mut leading);
        }
        for prompt in &prompts {
            naive.assert_agrees(&index, prompt, &mut leading);
        }
        let all: BTreeSet<_> = naive.0.values().flatten().collect();
        prop_assert_eq!(index.len(), all.len(), "memory shrinks with removals");
        for (worker, held) in &naive.0 {
            prop_assert_eq!(index.held_by(*worker), Blocks::of(held.len()));
        }
    }

    /// Names that are no chain at all: parents in circles, blocks that repeat, one block behind many.
    #[test]
    fn nonsense_breaks_nothing(
        told in prop::collection::vec((0_usize..3, 0_u8..8, 0_u64..24, prop::collection::vec(0_u64..24, 0..20)), 0..150),
    ) {
        let (mut index, mut leading) = (Index::default(), Leading::default());
        for (who, kind, parent, blocks) in told {
            let blocks: Vec<_> = blocks.into_iter().map(BlockHash).collect();
            index.answer(&blocks, &mut leading);
            let event = match kind {
                0 => KvEvent::Cleared,
                1..4 => KvEvent::Removed { blocks },
                _ => KvEvent::Stored { parent: BlockHash(parent), blocks },
            };
            index.apply(worker(who), &event);
            index.assert_invariants();
            let runs = index.runs();
            index.apply(worker(who), &event);
            index.assert_invariants();
            prop_assert!(index.runs() <= runs + RUN_BLOCKS_MAX, "telling twice does not pile up runs");
        }
    }
}

/// `count` consecutive blocks of prompt `number`.
fn chain(number: u64, count: u64) -> Vec<BlockHash> {
    std::iter::successors(Some(ROOT.next_text(&number.to_le_bytes())), |block| Some(block.next_text(b"next")))
        .take(count as usize)
        .collect()
}

fn stored(blocks: &[BlockHash]) -> KvEvent {
    KvEvent::Stored { parent: ROOT, blocks: blocks.to_vec() }
}

/// Tells of `blocks` one at a time.
fn store_singly(index: &mut Index, worker: WorkerId, mut parent: BlockHash, blocks: &[BlockHash]) {
    for block in blocks {
        index.apply(worker, &KvEvent::Stored { parent, blocks: vec![*block] });
        parent = *block;
    }
}

fn evict_singly(index: &mut Index, worker: WorkerId, blocks: &[BlockHash]) {
    for block in blocks.iter().rev() {
        index.apply(worker, &KvEvent::Removed { blocks: vec![*block] });
        index.assert_merged();
    }
}

/// Blocks of one run in tests, so that whole prompts can be one.
const LONG: u64 = RUN_BLOCKS_MAX as u64;

#[test]
fn an_answer_stored_block_by_block_is_one_run() {
    let (mut index, prompt) = (Index::default(), chain(1, LONG));
    store_singly(&mut index, WorkerId(0), ROOT, &prompt);
    assert_eq!(index.runs(), 1);
    let (first, second) = (WorkerId(0), WorkerId(1));
    store_singly(&mut index, second, ROOT, &prompt);
    index.assert_invariants();
    assert_eq!(index.runs(), 1, "the second holder joins in block by block");
    assert_eq!(
        index.answer(&prompt, &mut Leading::default()),
        [(first, prompt.len()), (second, prompt.len())]
    );
}

#[test]
fn a_tail_evicted_block_by_block_leaves_two_runs() {
    let (mut index, prompt) = (Index::default(), chain(1, LONG));
    for id in 0..3 {
        index.apply(WorkerId(id), &stored(&prompt));
    }
    for (kept, id) in [(10, 0), (7, 1), (3, 2)] {
        evict_singly(&mut index, WorkerId(id), &prompt[kept..]);
    }
    assert_eq!(index.runs(), 3, "held by all three, by two, by one");
    assert_eq!(index.len(), 10);
    evict_singly(&mut index, WorkerId(0), &prompt[3..10]);
    evict_singly(&mut index, WorkerId(1), &prompt[3..7]);
    assert_eq!(index.runs(), 1, "equal again");
}

#[test]
fn a_hole_that_is_filled_leaves_one_run() {
    let (mut index, prompt) = (Index::default(), chain(1, LONG));
    index.apply(WorkerId(0), &stored(&prompt));
    for at in [3, 9, 5, 4] {
        index.apply(WorkerId(0), &KvEvent::Removed { blocks: vec![prompt[at]] });
    }
    index.assert_invariants();
    assert_eq!(index.answer(&prompt, &mut Leading::default()), [(WorkerId(0), 3)]);
    for at in [3, 4, 5, 9] {
        let event = KvEvent::Stored { parent: prompt[at - 1], blocks: vec![prompt[at]] };
        index.apply(WorkerId(0), &event);
    }
    index.assert_invariants();
    assert_eq!(index.runs(), 1);
}

#[test]
fn memory_is_given_back() {
    let mut index = Index::default();
    let empty = index.bytes();
    let prompts: Vec<_> = (0..500).map(|number| chain(number, 30)).collect();
    for (number, prompt) in (0..).zip(&prompts) {
        index.apply(WorkerId(number % 100), &stored(prompt));
        index.apply(WorkerId(number % 7), &stored(prompt));
    }
    let full = index.bytes();
    assert!(full > 500 * 30 * 16, "{full} bytes");
    for prompt in &prompts[50..] {
        (0..100).for_each(|id| evict_singly(&mut index, WorkerId(id), &prompt[..0]));
        for id in 0..100 {
            index.apply(WorkerId(id), &KvEvent::Removed { blocks: prompt.iter().rev().copied().collect() });
        }
    }
    assert!(index.bytes() < full / 4, "a tenth is left: {} of {full} bytes", index.bytes());
    (0..100).for_each(|id| index.forget(WorkerId(id)));
    index.assert_invariants();
    assert_eq!((index.len(), index.runs()), (0, 0));
    assert!(index.bytes() <= empty + 64, "{} bytes when empty, {empty} at first", index.bytes());
}

#[test]
fn a_thousand_and_more_workers_are_told_apart() {
    let (mut index, prompt) = (Index::default(), chain(1, 20));
    for id in 0..1_500 {
        index.apply(WorkerId(id), &stored(&prompt[..1 + id as usize % 20]));
    }
    index.assert_invariants();
    let mut leading = Leading::default();
    assert_eq!(index.answer(&prompt, &mut leading).len(), 1_500);
    assert!((0..1_500).all(|id| leading.depth_of(WorkerId(id)) == 1 + id as usize % 20));
}

#[test]
fn an_answer_outlives_the_workers_it_speaks_of() {
    let (mut index, prompt) = (Index::default(), chain(1, 5));
    index.apply(WorkerId(1), &stored(&prompt));
    let mut leading = Leading::default();
    index.leading(&prompt, &mut leading);
    index.forget(WorkerId(1));
    index.apply(WorkerId(2), &stored(&prompt[..2]));
    assert_eq!((leading.depth_of(WorkerId(1)), leading.depth_of(WorkerId(2))), (5, 0));
    assert_eq!(index.answer(&prompt, &mut leading), [(WorkerId(2), 2)]);
}
