//! What is heard of caches, and from whom: workers speak for themselves or shadows for them, never both, and the index holds what is spoken.

use warmroute_kv::{BlockHash, Blocks, KvEvent, Tokens};

use super::Router;
use crate::event::Publishes;
use crate::fleet::{State, Worker};
use crate::overtaken::Overdue;
use crate::request::{BookingId, Request, WorkerId};
use crate::time::Time;

impl Router {
    /// Somebody else speaks for a cache.
    pub(super) fn told(&mut self, worker: WorkerId, publishes: Publishes) {
        if self.fleet.told(worker, publishes) {
            self.forget(worker);
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

    /// The tokens that `worker` will probably report as cached, if it is believed to hold so many.
    pub(super) fn expected(&self, worker: WorkerId, overlap: Tokens) -> Tokens {
        let shadow = self.fleet.get(worker).and_then(|worker| worker.shadow.as_ref());
        shadow.map_or(overlap, |shadow| shadow.expects(overlap))
    }

    /// How many leading blocks of `chain` a worker will hold once it has read what it was sent before.
    fn coming(&self, at: WorkerId, chain: &[BlockHash]) -> usize {
        let Some(worker) = self.fleet.get(at) else { return 0 };
        let unread = worker.backlog.bookings().filter_map(|booking| self.bookings.get(booking));
        // What was told of is in the index, or was and is not any more.
        let unread = unread.filter(|booking| !booking.told);
        let shared = |blocks: &[BlockHash]| {
            // A block's name says everything about what comes before it.
            let both = blocks.len().min(chain.len());
            let places: &[BlockHash] = &chain[..both];
            crate::partition::partition(both, |place| places[place] == blocks[place])
        };
        let read = self.overtaken.of(at).map(shared);
        unread.map(|booking| shared(booking.footprint().blocks)).chain(read).max().unwrap_or(0)
    }

    /// The prompt of this request was read. Where its worker tells of its cache and has not told of this yet, it is going to.
    pub(super) fn was_read(&mut self, id: BookingId, now: Time) {
        let Some(booking) = self.bookings.get_mut(id) else { return };
        let promised = std::mem::take(&mut booking.promised);
        let Some(booking) = self.bookings.get(id) else { return };
        let (worker, blocks) = (booking.worker, booking.footprint().blocks);
        let tells = self.fleet.get(worker).is_some_and(|worker| worker.shadow.is_none());
        let settled = if tells && !booking.told && self.leading_blocks(worker, blocks) < blocks.len() {
            self.overtaken.add(Overdue::new(worker, blocks, promised, now))
        } else {
            if promised {
                self.promises.settle(worker, blocks);
            }
            None
        };
        self.settle(settled);
    }

    /// A worker keeps a prompt that it answers. Where nobody tells when it begins to, it does from the decision on.
    pub(super) fn hold(&mut self, id: BookingId) {
        let Some(booking) = self.bookings.get(id) else { return };
        let at = booking.worker;
        let shadow = self.fleet.get_mut(at).and_then(|worker| worker.shadow.as_mut());
        if let Some(shadow) = shadow {
            shadow.holds(id.into(), booking.footprint(), &mut self.events);
        }
        self.drain_shadow(at);
    }

    /// Events that did not come in time will not.
    pub(super) fn give_up(&mut self, now: Time) {
        while let Some(overdue) = self.overtaken.given_up(now) {
            self.settle(Some(overdue));
        }
    }

    /// Nothing is known of a worker's cache any more.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.index.forget(worker);
        while let Some(overdue) = self.overtaken.take(worker, |_| true) {
            self.settle(Some(overdue));
        }
    }

    fn settle(&mut self, overdue: Option<Overdue>) {
        if let Some(Overdue { worker, blocks, promised: true, .. }) = overdue {
            self.promises.settle(worker, &blocks);
        }
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
        let KvEvent::Stored { blocks: stored, .. } = event else { return };
        for id in account.backlog.bookings() {
            let Some(booking) = self.bookings.get_mut(id).filter(|booking| booking.ends_in(stored)) else {
                continue;
            };
            booking.told = true;
            if std::mem::take(&mut booking.promised) {
                self.promises.settle(worker, booking.footprint().blocks);
            }
        }
        let is_told = |blocks: &[BlockHash]| blocks.last().is_none_or(|last| stored.contains(last));
        while let Some(overdue) = self.overtaken.take(worker, is_told) {
            self.settle(Some(overdue));
        }
    }
}
