//! One interface to indexes that want their input in different types.
//!
//! A contender is made from a load and converts all of it at once, so that what is timed later is the index alone.

use crate::shapes::Load;

/// An index, with everything it will be told and asked in its own types.
pub trait Contender {
    /// Tells of all sequences, one event each.
    fn insert(&mut self);

    /// Prepares `passes` passes over all queries, where queries are used up.
    fn ready(&mut self, _passes: usize) {}

    /// Asks one query; returns something that depends on the whole answer.
    fn lookup(&mut self, query: usize) -> usize;

    /// The answer to one query: worker and depth, where it is not zero.
    fn depths(&mut self, query: usize) -> Vec<(u32, usize)>;

    /// Tells of all removals, one event each.
    fn remove(&mut self);

    /// Drops the index, and nothing that was prepared for it.
    fn discard(&mut self);
}

/// Makes a contender for a load and removals (not necessarily of everything).
pub type Make = fn(&Load, &[crate::shapes::Sequence]) -> Box<dyn Contender>;

/// All of them, ours first. Ratios are to it.
pub const CONTENDERS: [(&str, Make); 5] = [
    ("warmroute Index", crate::ours::make),
    ("kv-index 2.0.0 ChainIndex", crate::chain_index::make),
    ("dynamo 1.6.1 RadixTree", crate::dynamo::radix_tree),
    ("dynamo 1.6.1 ConcurrentRadixTreeCompressed", crate::dynamo::compressed),
    ("dynamo 1.6.1 PositionalIndexer", crate::dynamo::positional),
];
