//! Who still answers rightly when caches have holes: blocks evicted from the middle of sequences.

use std::collections::HashSet;

use serde::Serialize;

use crate::contender::CONTENDERS;
use crate::shapes::{Load, ROOT, Sequence, chain, pick};

/// How a contender answered all queries, a worker at a time, against one plain set of blocks per worker.
#[derive(Debug, Serialize)]
pub struct Exactness {
    pub contender: &'static str,
    /// Answers with a hole in the sequence that was asked for: evictions from the middle.
    pub holes: Wrong,
    /// The same where all evictions are leaves first, so that no sequence has a hole.
    pub tails: Wrong,
}

#[derive(Debug, Default, Serialize)]
pub struct Wrong {
    pub answers: usize,
    pub too_deep: usize,
    pub too_shallow: usize,
}

const WORKERS: u64 = 8;
const SEQUENCES: u64 = 200;
const BLOCKS: u64 = 48;
const SHARED: u64 = 16;
const EVICTED: u64 = 6;

pub fn exactness() -> Vec<Exactness> {
    let load = load();
    let (holes, tails) = (holes(&load), tails(&load));
    let check = |&(contender, make): &(&'static str, crate::contender::Make)| {
        let judge = |removals: &[Sequence]| {
            let mut made = make(&load, removals);
            made.insert();
            made.remove();
            let wrong = judge(&load, removals, |query| made.depths(query));
            made.discard();
            wrong
        };
        Exactness { contender, holes: judge(&holes), tails: judge(&tails) }
    };
    CONTENDERS.iter().map(check).collect()
}

fn load() -> Load {
    let store = |number: u64| {
        let shared = chain(ROOT, (number % 10) << 32, SHARED);
        let own = chain(shared[shared.len() - 1], number / 3, BLOCKS - SHARED);
        Sequence { worker: pick("worker", number, WORKERS) as u32, blocks: [shared, own].concat() }
    };
    let stores: Vec<_> = (0..SEQUENCES).map(store).collect();
    let queries = stores.iter().map(|store| store.blocks.clone()).collect();
    Load { name: "holes".into(), stores, queries }
}

/// Single blocks anywhere, once each.
fn holes(load: &Load) -> Vec<Sequence> {
    let mut gone = HashSet::new();
    let hole = |(number, store): (u64, &Sequence)| {
        let place = |draw| pick("hole", number * EVICTED + draw, BLOCKS) as usize;
        let blocks = (0..EVICTED).map(place).map(|place| store.blocks[place]);
        let blocks: Vec<_> = blocks.filter(|block| gone.insert((store.worker, *block))).collect();
        Sequence { worker: store.worker, blocks }
    };
    let holes = (0..).zip(&load.stores).filter(|(number, _)| number % 2 == 0).map(hole);
    holes.filter(|one| !one.blocks.is_empty()).collect()
}

/// The last blocks of every other sequence that nobody else on the worker goes on from.
fn tails(load: &Load) -> Vec<Sequence> {
    let mut removals: Vec<_> = load.removals().into_iter().step_by(2).collect();
    removals.iter_mut().for_each(|one| one.blocks.truncate(EVICTED as usize));
    removals
}

fn judge(load: &Load, removals: &[Sequence], mut depths: impl FnMut(usize) -> Vec<(u32, usize)>) -> Wrong {
    let mut held = HashSet::new();
    let blocks = |one: &Sequence| one.blocks.iter().map(|block| (one.worker, *block)).collect::<Vec<_>>();
    held.extend(load.stores.iter().flat_map(blocks));
    for block in removals.iter().flat_map(blocks) {
        held.remove(&block);
    }
    let mut wrong = Wrong::default();
    for (number, query) in load.queries.iter().enumerate() {
        let answer = depths(number);
        for worker in 0..WORKERS as u32 {
            let told = answer.iter().find(|(one, _)| *one == worker).map_or(0, |(_, depth)| *depth);
            let right = query.iter().take_while(|block| held.contains(&(worker, **block))).count();
            wrong.answers += 1;
            wrong.too_deep += usize::from(told > right);
            wrong.too_shallow += usize::from(told < right);
        }
    }
    wrong
}
