//! What other gateways do with the same workers: what they have under way there, and what they have sent.
//!
//! Loads are counted, and nothing else is booked for others. But where a worker tells nothing of its cache, its shadow has to know what all
//! gateways send: what it reads, keeps while it answers and holds afterwards. So requests of others are followed there from their decision to
//! their end, as this gateway's own are. Word of an end may be lost; then whoever listens says so by [`Event::Unheard`](crate::Event::Unheard).

use std::collections::BTreeMap;

use warmroute_kv::BlockHash;

use super::Router;
use crate::booking::Booking;
use crate::event::{Distant, Elsewhere, Prompt, Usage};
use crate::holder::Holder;
use crate::request::{BookingId, WorkerId};
use crate::shadow::{Footprint, Shadow};

/// As many are followed at most; of others nothing is known but that their prompts were sent. Each is a few kilobytes.
const MOST_FOLLOWED: usize = 1 << 13;

/// Requests of other gateways at workers with shadows, by whose they are.
pub(super) type DistantRequests = BTreeMap<Distant, (WorkerId, Prompt)>;

impl Router {
    /// Others have so much under way on a worker.
    pub(super) fn elsewhere(&mut self, id: WorkerId, load: Elsewhere) {
        let Some(worker) = self.fleet.get_mut(id) else { return };
        let had_room = worker.has_room();
        worker.elsewhere = load;
        self.fleet.reseated(had_room, id);
    }

    /// The prompt of a request that has not ended, for telling other gateways of it.
    pub fn prompt(&self, id: BookingId) -> Option<Prompt> {
        self.bookings.get(id).map(Booking::as_told)
    }

    /// Another gateway has sent a worker a prompt. Where the worker has a shadow, that takes it in; and so does the ghost, or what the worker
    /// evicts of it would be new when it is asked for again, and its loss would cost nothing.
    pub(super) fn sent_elsewhere(&mut self, request: Distant, at: WorkerId, prompt: Prompt) {
        self.let_go(request);
        // A worker that is gone has no shadow.
        if self.fleet.get(at).is_none_or(|worker| worker.shadow.is_none()) {
            return;
        }
        self.at_shadow(at, &prompt, |shadow, print, events| {
            shadow.sent(Holder::Distant(request), print, events)
        });
        self.remember(&prompt);
        if self.distant.len() < MOST_FOLLOWED {
            self.distant.insert(request, (at, prompt));
        } else {
            self.at_shadow(at, &prompt, |shadow, _, _| shadow.ended(Holder::Distant(request)));
        }
    }

    pub(super) fn read_elsewhere(&mut self, request: Distant) {
        let Some((at, prompt)) = self.distant.get(&request).cloned() else { return };
        self.at_shadow(at, &prompt, |shadow, print, events| {
            shadow.holds(Holder::Distant(request), print, events)
        });
    }

    pub(super) fn ended_elsewhere(&mut self, request: Distant, usage: Option<Usage>) {
        let Some(usage) = usage else { return self.let_go(request) };
        let Some((at, prompt)) = self.distant.remove(&request) else { return };
        let answer = (usage.prompt, usage.output);
        self.at_shadow(at, &prompt, |shadow, print, events| {
            shadow.fill_up(Holder::Distant(request), print, answer, events);
        });
    }

    /// Of what this gateway has sent until now nothing more will be heard.
    pub(super) fn unheard(&mut self, gateway: u64) {
        let all =
            Distant { gateway, booking: BookingId(0) }..=Distant { gateway, booking: BookingId(u64::MAX) };
        let lost: Vec<Distant> = self.distant.range(all).map(|(request, _)| *request).collect();
        lost.into_iter().for_each(|request| self.let_go(request));
    }

    /// Nothing is kept for a request any more.
    fn let_go(&mut self, request: Distant) {
        let Some((at, prompt)) = self.distant.remove(&request) else { return };
        self.at_shadow(at, &prompt, |shadow, _, _| shadow.ended(Holder::Distant(request)));
    }

    fn at_shadow(
        &mut self,
        at: WorkerId,
        prompt: &Prompt,
        act: impl FnOnce(&mut Shadow, Footprint<'_>, &mut warmroute_kv::KvEvents),
    ) {
        let block = self.scale.block_of(prompt.block, prompt.unit);
        let shadow = self.fleet.get_mut(at).and_then(|worker| worker.shadow.as_mut());
        let Some(shadow) = shadow else { return };
        act(shadow, Footprint { root: prompt.root, blocks: &prompt.blocks, block }, &mut self.events);
        self.drain_shadow(at);
    }

    fn remember(&mut self, prompt: &Prompt) {
        let blocks: &[BlockHash] = &prompt.blocks;
        let most = self.most_marks(self.scale.block_of(prompt.block, prompt.unit));
        let (_, news) = self.ghost.recall(blocks, 0);
        self.ghost.take_in(blocks, news, most);
    }
}
