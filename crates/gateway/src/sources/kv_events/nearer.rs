//! A worker's cache without its farther tiers, for whoever wants to know the tiers apart.
//!
//! Most engines have one tier, and then all of it is the nearest. So this begins only once something is told of another tier, with a
//! copy of what is known by then; until then it costs nothing.

use warmroute_kv::KvEvents;
use warmroute_kv::wire::{EngineEvent, Tier, Translator};

/// Who is told what changes in it.
pub(crate) type Aside = Box<dyn Fn(KvEvents) + Send + Sync>;

/// One of them.
pub(super) struct Nearer {
    farthest: Tier,
    aside: Aside,
    /// Once it has begun.
    translator: Option<Translator>,
    /// Not handed on yet.
    changes: KvEvents,
}

impl Nearer {
    /// What is held in `farthest` and nearer tiers.
    pub(super) fn new(farthest: Tier, aside: Aside) -> Self {
        Self { farthest, aside, translator: None, changes: KvEvents::new() }
    }

    /// Goes on by itself from here.
    pub(super) fn begin(&mut self, whole: &Translator) {
        let own = whole.within(self.farthest);
        (self.aside)(own.recount());
        self.translator = Some(own);
    }

    pub(super) fn apply(&mut self, rank: u32, event: &EngineEvent<'_>) {
        if let Some(translator) = &mut self.translator {
            translator.apply(rank, event, &mut self.changes);
        }
    }

    pub(super) fn forget(&mut self, rank: u32) {
        if let Some(translator) = &mut self.translator {
            translator.forget(rank, &mut self.changes);
        }
        self.hand_on();
    }

    pub(super) fn hand_on(&mut self) {
        if !self.changes.is_empty() {
            (self.aside)(std::mem::take(&mut self.changes));
        }
    }
}
