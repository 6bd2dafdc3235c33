//! What is heard of caches, and from whom: workers speak for themselves or shadows for them, never both, and the index holds what is spoken.

use warmroute_kv::{BlockHash, Blocks, KvEvent, Tokens};

use super::Router;
use crate::event::Publishes;
use crate::fleet::{State, Worker};
use crate::request::{Request, WorkerId};

impl Router {
    /// Somebody else speaks for a cache.
    pub(super) fn told(&mut self, worker: WorkerId, publishes: Publishes) {
        if self.fleet.told(worker, publishes) {
            self.index.forget(worker);
            self.share_room();
        }
    }

    /// The tokens that `worker`, believed to hold `overlap` of the prompt, will take from its cache when it comes to it, and whether it
    /// told so itself.
    pub(super) fn foresee(
        &self,
        request: &Request<'_>,
        (worker, overlap): (WorkerId, Tokens),
    ) -> (Tokens, bool) {
        let Some(most) = request.most_reusable() else { return (overlap, false) };
        let told = self.fleet.get(worker).is_some_and(|worker| worker.shadow.is_none());
        // A promise is known to within a quarter; now that there is one worker, its prompts can be asked.
        let coming = if told { self.coming(worker, request.blocks) } else { 0 };
        let coming = self.scale.block(request).tokens(coming);
        (overlap.max(coming).min(most), told)
    }

    /// How many leading blocks of `chain` a worker will hold once it has read what it was sent before.
    fn coming(&self, worker: WorkerId, chain: &[BlockHash]) -> usize {
        let Some(worker) = self.fleet.get(worker) else { return 0 };
        let unread = worker.backlog.bookings().filter_map(|booking| self.bookings.get(booking));
        let shared = |blocks: &[BlockHash]| {
            // A block's name says everything about what comes before it.
            let both = blocks.len().min(chain.len());
            let places: &[BlockHash] = &chain[..both];
            crate::ruler::partition(both, |place| places[place] == blocks[place])
        };
        unread.map(|booking| shared(booking.footprint().blocks)).max().unwrap_or(0)
    }

    /// All shadows have equal parts of the room for blocks.
    pub(super) fn share_room(&mut self) {
        let Some(room) = self.room else { return };
        let shadowed = self.fleet.iter().filter(|(_, worker)| worker.shadow.is_some());
        let shadowed: Vec<WorkerId> = shadowed.map(|(id, _)| id).collect();
        for id in &shadowed {
            let worker = self.fleet.get_mut(*id);
            if let Some(shadow) = worker.and_then(|worker| worker.shadow.as_mut()) {
                shadow.limit(Blocks::of(room.blocks / shadowed.len()), &mut self.events);
            }
            self.drain_shadow(*id);
        }
    }

    /// What a shadow did goes the same way as what a worker tells.
    pub(super) fn drain_shadow(&mut self, worker: WorkerId) {
        if self.events.is_empty() {
            return;
        }
        for event in self.events.drain(..) {
            self.index.apply(worker, &event);
        }
        if let Some(account) = self.fleet.get_mut(worker) {
            account.slot = self.index.slot_of(worker);
        }
    }

    pub(super) fn tell(&mut self, worker: WorkerId, event: &KvEvent) {
        let speaks = |worker: &Worker| worker.state != State::Gone && worker.shadow.is_none();
        let Some(account) = self.fleet.get_mut(worker).filter(|worker| speaks(worker)) else { return };
        if *event == KvEvent::Cleared {
            account.given = 0.0;
        }
        self.index.apply(worker, event);
        account.slot = self.index.slot_of(worker);
    }
}
