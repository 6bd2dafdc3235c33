//! What the other gateways have told, and what follows from it: pure, so that its rules can be read and tested alone.
//!
//! A gateway counts from its first line until its feed ends; then all that it told is withdrawn.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use warmroute_routing::{Elsewhere, Part};

use super::frame::Load;

/// Workers that one gateway may tell of: as many as one may have.
const MOST_WORKERS: usize = 4_096;

/// The gateways that are heard.
#[derive(Debug)]
pub(super) struct Table {
    own: u64,
    others: BTreeMap<u64, Other>,
}

#[derive(Debug, Default)]
struct Other {
    loads: HashMap<String, Elsewhere>,
    draining: bool,
}

/// Why a feed is not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is this gateway's own.
    Own,
    /// The same gateway is heard by another address already.
    Heard,
}

impl Table {
    /// Nobody is heard by the gateway that has this id.
    pub(super) fn new(own: u64) -> Self {
        Self { own, others: BTreeMap::new() }
    }

    /// Another gateway is heard from now on.
    pub(super) fn enter(&mut self, gateway: u64) -> Result<(), Known> {
        if gateway == self.own {
            return Err(Known::Own);
        }
        if self.others.contains_key(&gateway) {
            return Err(Known::Heard);
        }
        self.others.insert(gateway, Other::default());
        Ok(())
    }

    /// It is heard no more.
    pub(super) fn leave(&mut self, gateway: u64) {
        self.others.remove(&gateway);
    }

    /// It has told this of workers; returns whether its share of the traffic has changed.
    pub(super) fn take(&mut self, gateway: u64, loads: &[Load], draining: bool) -> bool {
        let Some(other) = self.others.get_mut(&gateway) else { return false };
        for told in loads {
            let load = told.load();
            if load == Elsewhere::default() {
                other.loads.remove(&told.worker);
            } else if other.loads.len() < MOST_WORKERS || other.loads.contains_key(&told.worker) {
                other.loads.insert(told.worker.clone(), load);
            }
        }
        std::mem::replace(&mut other.draining, draining) != draining
    }

    /// What all of them have under way on a worker.
    pub(super) fn load(&self, worker: &str) -> Elsewhere {
        self.others.values().filter_map(|other| other.loads.get(worker)).copied().sum()
    }

    /// How many are heard.
    pub(super) fn count(&self) -> usize {
        self.others.len()
    }

    /// The part of the traffic that is this gateway's: that of one among all that take new requests, in the order of their ids.
    pub(super) fn part(&self) -> Part {
        let sharing = || self.others.iter().filter(|(_, other)| !other.draining).map(|(id, _)| *id);
        let which = sharing().filter(|id| *id < self.own).count();
        let of = u32::try_from(1 + sharing().count()).ok().and_then(NonZeroU32::new);
        of.map_or(Part::ALL, |of| Part { which: which as u32, of })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use warmroute_kv::Tokens;

    use super::*;

    fn load(worker: &str, in_flight: u32) -> Load {
        Load::new(worker, Elsewhere { in_flight, queued: Tokens(10 * in_flight), ..Elsewhere::default() })
    }

    #[test]
    fn loads_add_up_are_replaced_and_go_with_who_told_them() {
        let mut table = Table::new(5);
        table.enter(1).unwrap();
        table.enter(9).unwrap();
        table.take(1, &[load("a", 2), load("b", 1)], false);
        table.take(9, &[load("a", 3)], false);
        let at = |table: &Table, worker| (table.load(worker).in_flight, table.load(worker).queued.0);
        assert_eq!((at(&table, "a"), at(&table, "b"), at(&table, "c")), ((5, 50), (1, 10), (0, 0)));
        table.take(1, &[load("a", 0)], false);
        assert_eq!((at(&table, "a"), at(&table, "b")), ((3, 30), (1, 10)), "what is not told of stays");
        table.leave(9);
        assert_eq!((at(&table, "a"), table.count()), ((0, 0), 1));
        table.take(9, &[load("a", 3)], false);
        assert_eq!(at(&table, "a"), (0, 0), "a late word of somebody who is gone");
    }

    #[test]
    fn a_gateway_knows_itself_and_hears_nobody_twice() {
        let mut table = Table::new(5);
        assert_eq!(
            (table.enter(5), table.enter(6), table.enter(6)),
            (Err(Known::Own), Ok(()), Err(Known::Heard))
        );
        assert_eq!(table.part(), Part { which: 0, of: NonZeroU32::new(2).unwrap() });
    }

    #[test]
    fn one_that_drains_has_loads_and_no_part() {
        let mut table = Table::new(5);
        table.enter(1).unwrap();
        assert_eq!(table.part().which, 1);
        assert!(table.take(1, &[load("a", 2)], true));
        assert!(!table.take(1, &[], true));
        assert_eq!((table.part(), table.load("a").in_flight), (Part::ALL, 2));
    }

    #[test]
    fn what_one_tells_has_a_bound() {
        let mut table = Table::new(5);
        table.enter(1).unwrap();
        (0..10_000).for_each(|number| _ = table.take(1, &[load(&number.to_string(), 1)], false));
        assert_eq!(table.others[&1].loads.len(), MOST_WORKERS);
    }

    proptest! {
        /// Each worker has exactly one gateway that is the first to fill it, and no gateway has more than its share.
        #[test]
        fn gateways_that_hear_each_other_share_the_workers_evenly(ids in proptest::collection::btree_set(any::<u64>(), 1..9), workers in 1..50_u32) {
            let part = |own: u64| {
                let mut table = Table::new(own);
                ids.iter().filter(|id| **id != own).for_each(|id| table.enter(*id).unwrap());
                table.part()
            };
            let parts: Vec<Part> = ids.iter().copied().map(part).collect();
            let mut filled = vec![0; parts.len()];
            for worker in 0..workers {
                let first: BTreeSet<usize> = (0..parts.len()).filter(|which| parts[*which].is_first_at(worker)).collect();
                prop_assert_eq!(first.len(), 1);
                first.into_iter().for_each(|which| filled[which] += 1);
            }
            let (least, most) = (filled.iter().min(), filled.iter().max());
            prop_assert!(most.unwrap() - least.unwrap() <= 1);
        }
    }
}
