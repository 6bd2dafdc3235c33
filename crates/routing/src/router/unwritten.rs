//! What a decision leaves to be written down: nobody but later decisions asks for it, so it is written with whatever call comes next, and
//! whoever waits for the decision does not wait for it.

use super::Router;
use crate::ghost::News;
use crate::request::BookingId;

/// What the last call left.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// The booking whose prompt a shadow has not taken in.
    pub(super) sent: Option<BookingId>,
    /// What the ghost has not of the prompt of a booking.
    pub(super) news: Option<(BookingId, News)>,
    /// How many marks it keeps.
    pub(super) most_marks: usize,
    /// The booking whose prompt others are to be promised.
    pub(super) promise: Option<BookingId>,
}

impl Router {
    /// Writes down what the last decision left. Every call that changes anything does so first; what is only read, as what a worker is
    /// believed to [hold](Self::held_by), lacks it until then.
    pub fn write_up(&mut self) {
        if let Some(id) = self.unwritten.sent.take() {
            self.sent(id);
        }
        if let Some((id, news)) = self.unwritten.news.take()
            && let Some(booking) = self.bookings.get(id)
        {
            self.ghost.take_in(booking.footprint().blocks, news, self.unwritten.most_marks);
        }
        if let Some(id) = self.unwritten.promise.take()
            && let Some(booking) = self.bookings.get(id)
        {
            self.promises.make(booking.worker, booking.footprint().blocks);
        }
    }

    /// The shadow of a booking's worker takes in its prompt.
    fn sent(&mut self, id: BookingId) {
        let Some(booking) = self.bookings.get(id) else { return };
        let at = booking.worker;
        let shadow = self.fleet.get_mut(at).and_then(|worker| worker.shadow.as_mut());
        if let Some(shadow) = shadow {
            // Where nobody tells when it is read, it is kept from the decision on.
            match booking.tells {
                true => shadow.sent(id.into(), booking.footprint(), &mut self.events),
                false => shadow.holds(id.into(), booking.footprint(), &mut self.events),
            }
        }
        self.drain_shadow(at);
    }
}
