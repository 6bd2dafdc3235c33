//! What the block index costs: telling it of sequences, asking it, and telling it of evictions.

mod shapes;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use warmroute_kv::{BlockHash, KvEvent};
use warmroute_routing::{Index, Leading, WorkerId};

use shapes::{Load, ROOT, SHAPES};

type Events = Vec<(WorkerId, KvEvent)>;

fn stores(load: &Load) -> Events {
    let stored = |blocks: &Vec<_>| KvEvent::Stored { parent: ROOT, blocks: blocks.clone() };
    load.stores.iter().map(|store| (WorkerId(store.worker), stored(&store.blocks))).collect()
}

fn removals(load: &Load) -> Events {
    let removal = |one: shapes::Sequence| (WorkerId(one.worker), KvEvent::Removed { blocks: one.blocks });
    load.removals().into_iter().map(removal).collect()
}

/// The same, told block by block, as engines do while they decode and evict.
fn singly(events: &Events) -> Events {
    let single = |(worker, event): &(WorkerId, KvEvent)| -> Events {
        let singles: Vec<_> = match event {
            KvEvent::Stored { parent, blocks } => {
                let parents = std::iter::once(parent).chain(blocks);
                let stored = |(parent, block): (&BlockHash, &BlockHash)| KvEvent::Stored {
                    parent: *parent,
                    blocks: vec![*block],
                };
                parents.zip(blocks).map(stored).collect()
            }
            KvEvent::Removed { blocks } => {
                blocks.iter().map(|block| KvEvent::Removed { blocks: vec![*block] }).collect()
            }
            KvEvent::Cleared => vec![KvEvent::Cleared],
        };
        singles.into_iter().map(|event| (*worker, event)).collect()
    };
    events.iter().flat_map(single).collect()
}

fn told(mut index: Index, events: &Events) -> Index {
    for (worker, event) in events {
        index.apply(*worker, event);
    }
    index
}

fn all(criterion: &mut Criterion) {
    for shape in SHAPES {
        let load = shape.load();
        let (stores, removals) = (stores(&load), removals(&load));
        let mut group = criterion.benchmark_group(&load.name);
        group.sample_size(10).throughput(Throughput::Elements(load.told() as u64));
        for (how, stores, removals) in
            [("", stores.clone(), removals.clone()), (" singly", singly(&stores), singly(&removals))]
        {
            group.bench_function(format!("insert{how}"), |bencher| {
                bencher.iter_with_large_drop(|| told(Index::default(), &stores));
            });
            group.bench_function(format!("remove{how}"), |bencher| {
                let full = || told(Index::default(), &stores);
                bencher.iter_batched(full, |index| told(index, &removals), BatchSize::PerIteration);
            });
        }
        let (index, mut leading) = (told(Index::default(), &stores), Leading::default());
        group.sample_size(50).throughput(Throughput::Elements(load.queries.len() as u64));
        group.bench_function("lookup", |bencher| {
            bencher.iter(|| {
                for query in &load.queries {
                    index.leading(query, &mut leading);
                    black_box(leading.deepest());
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
