//! The course of a booked request: its work comes to a worker, its prompt is read, it moves or ends. Whatever happens in whatever order,
//! what was booked for it is released once.

use super::Router;
use crate::booking::Booking;
use crate::event::Usage;
use crate::fleet::Work;
use crate::request::{BookingId, WorkerId};
use crate::time::Time;

impl Router {
    /// Opens a new booking and puts its work on its worker.
    pub(super) fn book(&mut self, booking: Booking, now: Time) -> BookingId {
        let id = self.bookings.next_id();
        self.place(id, booking, now);
        id
    }

    pub(super) fn place(&mut self, id: BookingId, mut booking: Booking, now: Time) {
        self.decisions += 1;
        let (at, weight) = (booking.worker, self.fleet.weight(now));
        if let Some(worker) = self.fleet.get_mut(at) {
            let had_room = worker.has_room();
            let ahead = worker.ahead(&self.pace, now);
            booking.work = Work { tokens: ahead.tokens + booking.uncached().as_f64(), ..ahead };
            worker.book(id, &booking, &self.pace, now);
            worker.recent += booking.uncached().as_f64() * weight;
            worker.last_chosen = self.decisions;
            match &worker.shadow {
                Some(_) => self.unwritten.sent = Some(id),
                None if booking.is_worth_promising() => {
                    booking.promised = true;
                    self.unwritten.promise = Some(id);
                }
                None => {}
            }
            self.fleet.reseated(had_room, at);
        }
        self.bookings.open(id, booking);
    }

    pub(super) fn first_token(&mut self, id: BookingId, now: Time) {
        let Some(booking) = self.bookings.get_mut(id).filter(|booking| booking.waiting) else { return };
        booking.waiting = false;
        let (work, took) = (booking.work, now.since(booking.since));
        self.was_read(id, now);
        let Some(booking) = self.bookings.get(id) else { return };
        let Some(worker) = self.fleet.get_mut(booking.worker) else { return };
        worker.backlog.remove(id, now);
        worker.learn(self.pace.seconds(work), took);
        self.pace.learn(work, took);
        self.hold(id);
    }

    pub(super) fn moved(&mut self, id: BookingId, to: WorkerId, now: Time) {
        // A worker that is not known has no account to book on: the work stays where it is until the request ends.
        if self.fleet.get(to).is_none() {
            return;
        }
        let Some(mut booking) = self.unbook(id, now) else { return };
        let blocks = self.leading_blocks(to, booking.footprint().blocks);
        let overlap = booking.block.tokens(blocks).min(booking.prompt);
        booking.overlaps(blocks, overlap);
        booking.predicted = self.expected(to, overlap).min(booking.prompt);
        booking.worker = to;
        booking.since = now;
        booking.waiting = true;
        self.place(id, booking, now);
    }

    pub(super) fn finished(&mut self, id: BookingId, usage: Option<Usage>, now: Time) {
        // Decisions do so too, but somebody waits for those.
        self.give_up(now);
        if let Some(booking) = self.bookings.get(id).filter(|booking| booking.waiting) {
            if !booking.tells && !booking.by_load {
                self.pace.learn_at_most(booking.work_after(usage.as_ref()), now.since(booking.since));
            }
            self.was_read(id, now);
        }
        if let Some(usage) = &usage {
            self.answered(id, usage);
        }
        let Some(booking) = self.unbook(id, now) else { return };
        let Some(usage) = usage.filter(|_| !booking.by_load) else { return };
        if let Some(bytes) = booking.bytes {
            self.scale.learn(bytes, usage.prompt);
        }
        self.scale.learn_answer(usage.output, now.since(booking.since));
    }

    /// What its answer says of its worker's cache, while a shadow still keeps its prompt.
    fn answered(&mut self, id: BookingId, usage: &Usage) {
        let Some(booking) = self.bookings.get(id).filter(|booking| !booking.by_load) else { return };
        let at = booking.worker;
        let Some(worker) = self.fleet.get_mut(at) else { return };
        if let Some(cached) = usage.cached {
            worker.predicted += u64::from(booking.predicted.0);
            worker.reported += u64::from(cached.0);
        }
        if let Some(shadow) = &mut worker.shadow {
            shadow.answered(id, (booking, usage), &mut self.events);
        }
        self.drain_shadow(at);
    }

    /// Ends a booking and frees its work; a second end finds nothing.
    pub(super) fn unbook(&mut self, id: BookingId, now: Time) -> Option<Booking> {
        let mut booking = self.bookings.close(id)?;
        if std::mem::take(&mut booking.promised) {
            self.promises.settle(booking.worker, booking.footprint().blocks);
        }
        if let Some(worker) = self.fleet.get_mut(booking.worker) {
            let had_room = worker.has_room();
            worker.unbook(id, &booking, now);
            self.fleet.reseated(had_room, booking.worker);
        }
        self.fleet.bury(booking.worker);
        Some(booking)
    }
}
